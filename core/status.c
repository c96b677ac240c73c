/* The sentence behind the last failure: one fixed buffer per thread, so that reporting a failure
 * (out of memory above all) can never fail itself. Text goes through a second buffer because the
 * arguments may point into the record ("%s: ..." with bg_error()). */
#include "core/status.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RECORD_SIZE 1024

static _Thread_local char record[RECORD_SIZE];

enum bg_status bg_fail(enum bg_status code, const char *format, ...)
{
    char text[RECORD_SIZE] = "";
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(record, text, sizeof record);
    return code;
}

enum bg_status bg_fail_prefix(enum bg_status code, const char *format, ...)
{
    char text[RECORD_SIZE] = "";
    va_list args;
    size_t used;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    used = strlen(text);
    (void)snprintf(text + used, sizeof text - used, "%s", record);
    memcpy(record, text, sizeof record);
    return code;
}

const char *bg_error(void)
{
    return record;
}

void bg_error_clear(void)
{
    record[0] = '\0';
}

static const struct {
    const char *name;
    int exit_code;
} codes[] = {
    [BG_OK] = {"ok", 0},
    [BG_E_USAGE] = {"usage error", 64},
    [BG_E_DATA] = {"bad data", 65},
    [BG_E_SHAPE] = {"shapes do not fit", 65},
    [BG_E_RANGE] = {"value out of range", 65},
    [BG_E_UNSUPPORTED] = {"not supported", 65},
    [BG_E_NOT_FOUND] = {"not found", 65},
    [BG_E_MISMATCH] = {"mismatch", 65},
    [BG_E_NUMERIC] = {"not a finite number", 65},
    [BG_E_NOMEM] = {"out of memory", 70},
    [BG_E_IO] = {"input or output error", 74},
    [BG_E_INTERRUPTED] = {"interrupted", 75},
    [BG_E_INTERNAL] = {"internal error", 70},
};
static_assert(sizeof codes / sizeof codes[0] == BG_E_INTERNAL + 1, "one row per status code");

static int known(enum bg_status code)
{
    return (unsigned)code <= (unsigned)BG_E_INTERNAL;
}

const char *bg_status_name(enum bg_status code)
{
    return known(code) ? codes[code].name : "unknown status";
}

int bg_status_exit_code(enum bg_status code)
{
    return known(code) ? codes[code].exit_code : 70;
}
