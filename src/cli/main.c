#include "cli.h"

#include <signal.h>

int main(int argc, char **argv)
{
	kb_options opt;
	const kb_command *command;
	signal(SIGPIPE, SIG_DFL);
	int rc = kb_options_parse(argc, argv, &opt, &command);
	if (rc >= 0)
		return rc;
	if (opt.help) {
		kb_print_help(stdout);
		return KB_EXIT_OK;
	}
	if (opt.version) {
		printf("keptby %s\n", KB_VERSION);
		return KB_EXIT_OK;
	}
	return command->run(&opt);
}
