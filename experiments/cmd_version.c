/* `bitgrad version`: the versions a run depends on, as text or one JSON object. */
#include <stdio.h>

#include "experiments/arguments.h"
#include "experiments/environment.h"

extern const struct bg_command bg_cmd_version;

static enum bg_status version_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_environment environment;
    struct bg_text json = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&json, 1 << 16);
    TRY(bg_arguments_read(&arguments, &bg_cmd_version, argc, argv, 0, 0));
    if (arguments.done)
        goto out;
    bg_environment_now(&environment);
    if (!bg_arguments_get(&arguments, "json")) {
        printf("bitgrad %s\n", environment.bitgrad);
        printf("oneDNN %s (%s)\n", environment.onednn, environment.isa);
        printf("compiler %s\n", environment.compiler);
        goto out;
    }
    bg_text_add(&json, "{\"schema\": 1, \"bitgrad\": ");
    bg_text_add_json(&json, environment.bitgrad);
    bg_text_add(&json, ", \"onednn\": ");
    bg_text_add_json(&json, environment.onednn);
    bg_text_add(&json, ", \"isa\": ");
    bg_text_add_json(&json, environment.isa);
    bg_text_add(&json, ", \"cpu\": ");
    bg_text_add_json(&json, environment.cpu);
    bg_text_add(&json, ", \"compiler\": ");
    bg_text_add_json(&json, environment.compiler);
    bg_text_add(&json, "}");
    TRY(bg_text_check(&json));
    puts(bg_text_string(&json));
out:
    bg_text_free(&json);
    return rc;
}

static const struct bg_argument version_arguments[] = {
    {"json", NULL, "one JSON object, with the CPU and its instruction set"}, {NULL, NULL, NULL}};

const struct bg_command bg_cmd_version = {.name = "version",
                                          .usage = "version [--json]",
                                          .help = "what this bitgrad is made of",
                                          .details = "",
                                          .main = version_main,
                                          .arguments = version_arguments};
