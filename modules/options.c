/*
 * Flags of the daemon: each configuration key is one (--state-dir DIR), and so is each command, which
 * says what to do instead of serving (commands.h). Nothing here opens a socket or a state folder.
 */
#include "modules/options.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/buf.h"
#include "modules/commands.h"

enum {
	OPTION_CONFIG = 'c',
	OPTION_COMMAND = 0x100, /* + index in xn_commands[] */
	OPTION_KEY = 0x10000,	/* + index in xn_config_keys[] */
};

static size_t count_commands(void)
{
	size_t n = 0;

	while (xn_commands[n].flag)
		n++;
	return n;
}

static size_t count_keys(void)
{
	size_t n = 0;

	while (xn_config_keys[n].name)
		n++;
	return n;
}

/* For getopt_long: the caller frees. */
static struct option *make_long_options(void)
{
	size_t n_commands = count_commands(), n_keys = count_keys();
	struct option *all = xn_calloc(1 + n_commands + n_keys + 1, sizeof(*all)), *out = all;

	*out++ = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
	for (size_t i = 0; i < n_commands; i++)
		*out++ = (struct option){xn_commands[i].flag,
					 xn_commands[i].argument ? required_argument : no_argument,
					 NULL, OPTION_COMMAND + i};
	for (size_t i = 0; i < n_keys; i++)
		*out++ = (struct option){xn_config_keys[i].name, required_argument, NULL,
					 OPTION_KEY + i};
	return all;
}

static int set_flag(struct xn_config *config, const char *name, const char *value, char **why)
{
	char *where = xn_asprintf("--%s", name);
	int rc = xn_config_set(config, name, value, true, where, why);

	free(where);
	return rc;
}

/* One thing at a time: of two commands one would be left out without a word. */
static int choose(struct xn_choice *choice, const struct xn_command *command, const char *argument,
		  char **why)
{
	if (choice->command) {
		*why = xn_asprintf("--%s and --%s exclude each other", choice->command->flag,
				   command->flag);
		return -1;
	}
	*choice = (struct xn_choice){.command = command, .argument = argument};
	return 0;
}

static int read_flags(struct xn_config *config, int argc, char **argv,
		      const struct option *options, struct xn_choice *choice, const char **file,
		      char **why)
{
	int option, rc = 0;

	optind = 0; /* start over: a test reads more than one command line */
	opterr = 0;
	while (rc == 0 && (option = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
		if (option == OPTION_CONFIG) {
			*file = optarg;
		} else if (option >= OPTION_KEY) {
			rc = set_flag(config, xn_config_keys[option - OPTION_KEY].name, optarg,
				      why);
		} else if (option >= OPTION_COMMAND) {
			rc = choose(choice, &xn_commands[option - OPTION_COMMAND], optarg, why);
		} else {
			*why = xn_asprintf(option == ':' ? "%s needs a value"
							 : "there is no option %s (see --help)",
					   argv[optind - 1]);
			rc = -1;
		}
	}
	if (rc == 0 && optind < argc && choice->command && choice->command->operand)
		choice->operand = argv[optind++];
	if (rc == 0 && optind < argc) {
		*why = xn_asprintf("\"%s\" is not an option (see --help)", argv[optind]);
		rc = -1;
	}
	return rc;
}

int xn_options_read(struct xn_config *config, int argc, char **argv, struct xn_choice *choice,
		    char **why)
{
	struct option *options = make_long_options();
	const char *file = NULL;
	int rc;

	*choice = (struct xn_choice){0};
	*why = NULL;
	rc = read_flags(config, argc, argv, options, choice, &file, why);
	free(options);
	if (rc < 0)
		return -1;
	return file ? xn_config_load_file(config, file, why) : 0;
}

/* ---- what the machine decides ---- */

/* The first bytes of a small file below the machine's root; "" when there is none. */
static void read_text(const struct xn_machine *machine, const char *path, char *out, size_t size)
{
	char *whole = xn_asprintf("%s%s", machine->root, path);
	int fd = open(whole, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	free(whole);
}

/* The kernel tells in two places, of which the first needs a file system that may not be mounted. */
static bool is_control_domain(const struct xn_machine *machine)
{
	enum { FEATURE_DOM0 = 11 };
	char text[64];

	read_text(machine, "/proc/xen/capabilities", text, sizeof(text));
	if (strstr(text, "control_d"))
		return true;
	read_text(machine, "/sys/hypervisor/type", text, sizeof(text));
	if (strcmp(text, "xen\n") != 0)
		return false;
	read_text(machine, "/sys/hypervisor/properties/features", text, sizeof(text));
	return strtoul(text, NULL, 16) >> FEATURE_DOM0 & 1;
}

static int settle_hypervisor(struct xn_config *config, const struct xn_machine *machine,
			     struct xn_buf *notes, char **why)
{
	const char *named = xn_config_string(config, "hypervisor");
	bool may = is_control_domain(machine);
	bool is_xen = strcmp(named, "xen") == 0;

	if (is_xen && !machine->has_libxl)
		*why = xn_strdup("hypervisor xen: this build has no Xen back end, since Xen's "
				 "headers were not there; use sim");
	else if (is_xen && !may)
		*why = xn_strdup("hypervisor xen: this is no Xen control domain (neither "
				 "/proc/xen/capabilities nor /sys/hypervisor say so); use sim");
	if (*why)
		return -1;
	if (strcmp(named, "auto") != 0)
		return 0;
	is_xen = may && machine->has_libxl;
	if (!is_xen)
		xn_buf_printf(notes, "%s: domains run on the simulated hypervisor\n",
			      may ? "this build has no Xen back end"
				  : "this is no Xen control domain");
	xn_config_decide(config, "hypervisor", is_xen ? "xen" : "sim");
	return 0;
}

/* Simulated guests know no other store than ours. */
static int check_xenstore(const struct xn_config *config, char **why)
{
	bool is_xen = strcmp(xn_config_string(config, "hypervisor"), "xen") == 0;
	const char *named = xn_config_string(config, "xenstore");

	if (!is_xen && strcmp(named, "system") == 0)
		*why = xn_strdup("xenstore system: simulated guests know the embedded one only; "
				 "use embedded");
	return *why ? -1 : 0;
}

static int settle_listeners(struct xn_config *config, struct xn_buf *notes, char **why)
{
	static const char *const listeners[] = {"http", "https", "socket", "xenstore-socket"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(listeners); i++)
		if (xn_config_is_set(config, listeners[i]))
			return 0;
	if (geteuid() != 0) {
		*why = xn_strdup("no listener is named: use --http ADDR:PORT or --socket PATH "
				 "(only root has defaults)");
		return -1;
	}
	xn_config_decide(config, "http", XN_DEFAULT_HTTP);
	xn_config_decide(config, "https", XN_DEFAULT_HTTPS);
	xn_config_decide(config, "socket", XN_DEFAULT_SOCKET);
	return 0;
}

int xn_options_settle(struct xn_config *config, const struct xn_machine *machine,
		      struct xn_buf *notes, char **why)
{
	*why = NULL;
	if (settle_hypervisor(config, machine, notes, why) < 0)
		return -1;
	if (check_xenstore(config, why) < 0)
		return -1;
	return settle_listeners(config, notes, why);
}

/* ---- help ---- */

static void print_line(const char *flag, const char *argument, const char *doc, const char *more)
{
	char left[40];

	snprintf(left, sizeof(left), "--%s %s", flag, argument ? argument : "");
	printf("  %-30s %s%s\n", left, doc, more);
}

void xn_options_print_help(void)
{
	printf("usage: xenolithd [--config FILE] [OPTION]...\n\n"
	       "The Xen control plane in one process. Runs in the foreground.\n\n");
	print_line("config", "FILE", "read the options below from there too, as name = value", "");
	for (const struct xn_config_key *key = xn_config_keys; key->name; key++) {
		char *more = key->choices	      ? xn_asprintf(" (%s)", key->choices)
			     : key->otherwise	      ? xn_asprintf(" (%s)", key->otherwise)
						      : xn_strdup("");

		print_line(key->name, key->argument, key->doc, more);
		free(more);
	}
	printf("\nWith no listener named, root gets --http " XN_DEFAULT_HTTP
	       " --https " XN_DEFAULT_HTTPS " --socket " XN_DEFAULT_SOCKET ".\n"
	       "\nInstead of serving:\n");
	for (const struct xn_command *command = xn_commands; command->flag; command++) {
		char *words = xn_asprintf("%s%s%s", command->argument ? command->argument : "",
					  command->operand ? " " : "",
					  command->operand ? command->operand : "");

		print_line(command->flag, words, command->doc, "");
		free(words);
	}
}
