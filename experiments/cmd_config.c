/* `bitgrad config show`: a recipe with every default filled in. */
#include <stdio.h>
#include <string.h>

#include "experiments/arguments.h"
#include "experiments/recipe.h"

extern const struct bg_command bg_cmd_config;

static enum bg_status config_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_recipe *recipe = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_config, argc, argv, 2, -1));
    if (arguments.done)
        goto out;
    if (strcmp(arguments.at[0], "show") != 0)
        FAIL(BG_E_USAGE, "config: unknown word '%s'; usage: bitgrad %s", arguments.at[0],
             bg_cmd_config.usage);
    TRY(bg_recipe_read(&recipe, arguments.at[1], arguments.at + 2, arguments.count - 2));
    fputs(bg_text_string(&recipe->resolved), stdout);
out:
    bg_recipe_free(recipe);
    return rc;
}

const struct bg_command bg_cmd_config = {
    .name = "config",
    .usage = "config show RECIPE [key.path=value ...]",
    .help = "print a recipe with every default filled in",
    .details =
        "What is printed is itself a recipe, and reads back as the same one. All errors of a\n"
        "recipe are reported at once. 'bitgrad list recipe' explains the keys.",
    .main = config_main};
