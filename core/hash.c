/* SHA-256 through libcrypto's EVP interface; the only file that includes its headers. */
#include "core/hash.h"

#include <stdint.h>

#include <openssl/evp.h>

#include "core/mem.h"

struct bg_hash {
    EVP_MD_CTX *context;
};

void bg_hash_abandon(struct bg_hash *hash)
{
    if (hash == NULL)
        return;
    EVP_MD_CTX_free(hash->context);
    bg_free(hash);
}

enum bg_status bg_hash_start(struct bg_hash **out)
{
    enum bg_status rc = BG_OK;
    struct bg_hash *hash = NULL;

    *out = NULL;
    TRY(bg_alloc(&hash, 1, sizeof *hash));
    hash->context = EVP_MD_CTX_new();
    if (hash->context == NULL)
        FAIL(BG_E_NOMEM, "out of memory: SHA-256 context");
    if (EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1)
        FAIL(BG_E_INTERNAL, "SHA-256: libcrypto does not offer it");
    *out = hash;
    hash = NULL;
out:
    bg_hash_abandon(hash);
    return rc;
}

enum bg_status bg_hash_add(struct bg_hash *hash, const void *bytes, size_t length)
{
    if (length > 0 && EVP_DigestUpdate(hash->context, bytes, length) != 1)
        return bg_fail(BG_E_INTERNAL, "SHA-256: libcrypto refused %zu bytes", length);
    return BG_OK;
}

enum bg_status bg_hash_end(struct bg_hash *hash, char out[BG_HASH_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    enum bg_status rc = BG_OK;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;

    out[0] = '\0';
    if (EVP_DigestFinal_ex(hash->context, digest, &length) != 1 || length != 32)
        FAIL(BG_E_INTERNAL, "SHA-256: libcrypto gave no digest");
    for (unsigned int i = 0; i < length; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[BG_HASH_TEXT - 1] = '\0';
out:
    bg_hash_abandon(hash);
    return rc;
}

enum bg_status bg_hash_bytes(const void *bytes, size_t length, char out[BG_HASH_TEXT])
{
    enum bg_status rc = BG_OK;
    struct bg_hash *hash = NULL, *ending = NULL;

    out[0] = '\0';
    TRY(bg_hash_start(&hash));
    TRY(bg_hash_add(hash, bytes, length));
    ending = hash;
    hash = NULL;
    TRY(bg_hash_end(ending, out));
out:
    bg_hash_abandon(hash);
    return rc;
}
