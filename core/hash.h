/* SHA-256 through libcrypto. */
#ifndef BG_CORE_HASH_H
#define BG_CORE_HASH_H

#include <stddef.h>

#include "core/status.h"

#define BG_HASH_TEXT 65 /* 64 hex digits and the final zero */

struct bg_hash;
/* Bytes are added in any number of pieces; bg_hash_end writes 64 lower-case hex digits. BG_E_NOMEM
 * or, when libcrypto refuses, BG_E_INTERNAL. */
BG_MUST enum bg_status bg_hash_start(struct bg_hash **out);
BG_MUST enum bg_status bg_hash_add(struct bg_hash *hash, const void *bytes, size_t length);
BG_MUST enum bg_status bg_hash_end(struct bg_hash *hash, char out[BG_HASH_TEXT]); /* frees hash */
void bg_hash_abandon(struct bg_hash *hash); /* frees without a result; takes NULL */
BG_MUST enum bg_status bg_hash_bytes(const void *bytes, size_t length, char out[BG_HASH_TEXT]);

#endif
