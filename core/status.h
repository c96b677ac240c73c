/* Status codes and the sentence behind the last failure.
 *
 * Every function of the library that can fail returns an enum bg_status. The failing function
 * writes ONE sentence that names the thing, the value and the limit ("conv2d conv3: input has 3
 * channels, weights expect 16") into a record that belongs to the calling thread. Nothing here
 * allocates. Library code never exits, aborts or prints. */
#ifndef BG_CORE_STATUS_H
#define BG_CORE_STATUS_H

#define BG_MUST              __attribute__((warn_unused_result))
#define BG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum bg_status {
    BG_OK = 0,
    BG_E_USAGE, /* the caller asked for something that has no meaning (command line, API order) */
    BG_E_DATA,  /* a file or recipe holds something that is not allowed */
    BG_E_SHAPE, /* shapes do not fit together */
    BG_E_RANGE, /* a value lies outside its limits */
    BG_E_UNSUPPORTED, /* valid, but not available in this build or on this machine */
    BG_E_NOT_FOUND,   /* a name, file or object does not exist */
    BG_E_MISMATCH,    /* two things that must agree do not (another recipe, another machine) */
    BG_E_NUMERIC,     /* NaN or infinity in loss, gradient or range */
    BG_E_NOMEM,       /* out of memory */
    BG_E_IO,          /* the operating system refused a read or write */
    BG_E_INTERRUPTED, /* stopped on request; state was saved and can be resumed */
    BG_E_INTERNAL     /* a bug in bitgrad or a library it stands on */
};

/* Writes the record and returns `code`. The sentence is cut at 1023 bytes. Cannot fail. */
enum bg_status bg_fail(enum bg_status code, const char *format, ...) BG_PRINTF(2, 3);

/* Puts text in front of the present sentence ("recipe.yaml:3:5: ") and returns `code`. */
enum bg_status bg_fail_prefix(enum bg_status code, const char *format, ...) BG_PRINTF(2, 3);

/* The sentence of this thread's last failure, "" after bg_error_clear. Valid until the next
 * failure. */
const char *bg_error(void);
void bg_error_clear(void);

/* The name of a code ("out of memory"), and the process exit code that stands for it:
 * 0, 64 usage, 65 bad data, 70 internal, 74 input/output, 75 interrupted and resumable. */
const char *bg_status_name(enum bg_status code);
int bg_status_exit_code(enum bg_status code);

/* Both macros need `enum bg_status rc = BG_OK;` and a label `out:` in the function around them.
 * FAIL sets rc itself, so that static analysis sees a failure leave as one. */
#define FAIL(code_, ...)                                                                           \
    do {                                                                                           \
        rc = (code_);                                                                              \
        (void)bg_fail(rc, __VA_ARGS__);                                                            \
        goto out;                                                                                  \
    } while (0)
#define TRY(expression_)                                                                           \
    do {                                                                                           \
        rc = (expression_);                                                                        \
        if (rc != BG_OK)                                                                           \
            goto out;                                                                              \
    } while (0)

#endif
