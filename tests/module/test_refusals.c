/*
 * When an operation is refused, with which error, and what allowed_operations list: every line of
 * tests/module/tables, each check alone in all its ways, and each with each later one (the first in
 * order tells its error). See refusals.h for the tables' form. Argument: the tables' folder.
 */
#include "tests/module/refusals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *folder;

/* ---- reading a table ---- */

static void add_check(struct line *line, const char *word)
{
	struct word *check = &line->checks[line->n_checks++];
	const char *arg = strchr(word, '=');
	size_t len = arg ? (size_t)(arg - word) : strlen(word);

	assert_true(line->n_checks <= MAX_CHECKS && len < sizeof(check->text));
	memcpy(check->text, word, len);
	if (len > 0 && check->text[len - 1] == '!') {
		check->text[len - 1] = '\0';
		check->never = true;
	}
	snprintf(check->arg, sizeof(check->arg), "%s", arg ? arg + 1 : "");
}

/* Words that say something about the operation as a whole. False: it is a check. */
static bool take_flag(struct line *line, const char *word)
{
	if (strncmp(word, "named=", 6) == 0)
		snprintf(line->spelled, sizeof(line->spelled), "%s", word + 6);
	else if (strcmp(word, "unnamed") == 0)
		strcpy(line->spelled, "(unknown operation)");
	else if (strcmp(word, "hidden") == 0)
		line->hidden = true;
	else if (strcmp(word, "hidden-free") == 0)
		line->hidden = line->free = true;
	else if (strcmp(word, "not-in-upgrade") == 0)
		line->paused_in_upgrade = true;
	else
		return strcmp(word, "listed-when-idle") == 0;
	return true;
}

/* Whether the word counts as a row of what is known about refusals. */
static bool counts(const char *word)
{
	return strncmp(word, "named=", 6) != 0 && strcmp(word, "unnamed") != 0;
}

static bool read_line(FILE *file, struct line *line, unsigned *n_rows)
{
	char text[1024], *rest = text;
	const char *word;

	if (!fgets(text, sizeof(text), file))
		return false;
	*line = (struct line){0};
	text[strcspn(text, "\n")] = '\0';
	word = strsep(&rest, " ");
	snprintf(line->name, sizeof(line->name), "%s", word);
	snprintf(line->spelled, sizeof(line->spelled), "%s", word);
	while ((word = strsep(&rest, " "))) {
		*n_rows += counts(word);
		if (!take_flag(line, word))
			add_check(line, word);
	}
	return true;
}

/* ---- one case ---- */

static const char *describe(const struct scene *s)
{
	static char text[700];
	int n = snprintf(text, sizeof(text), "%s", s->code ? s->code : "fine");

	for (unsigned i = 0; i < s->n_params; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " [%s]", s->params[i]);
	return text;
}

static bool is_same(const struct scene *s, const struct xn_error *err)
{
	if (!s->code || !err->code)
		return !s->code && !err->code;
	if (strcmp(s->code, err->code) != 0 || s->n_params != err->n_params)
		return false;
	for (unsigned i = 0; i < s->n_params; i++)
		if (strcmp(s->params[i], "~") == 0 ? !err->params[i][0]
						   : strcmp(s->params[i], err->params[i]) != 0)
			return false;
	return true;
}

static bool is_listed(struct scene *s)
{
	xn_operation_refresh(xn_operations_of(&s->api->core), s->row);
	return is_allowed(s->row, xn_field_find(&xn_classes[s->class_id], "allowed_operations"),
			  s->line->name);
}

static void fail_case(struct scene *s, const char *what, const struct xn_error *err)
{
	print_message("wanted: %s\n", describe(s));
	print_message("got: %s", err->code ? err->code : "fine");
	for (unsigned i = 0; i < err->n_params; i++)
		print_message(" [%s]", err->params[i]);
	fail_msg("%s.%s: %s", xn_classes[s->class_id].name, s->line->name, what);
}

/* Asks, and looks into allowed_operations. @check NULL: nothing was made. */
static void ask(struct scene *s, const struct check *check, const char *what)
{
	struct xn_error err = {0};
	bool list;

	xn_operation_check(xn_operations_of(&s->api->core), s->class_id, xn_row_ref(s->row),
			   s->line->name, &err);
	if (!is_same(s, &err))
		fail_case(s, what, &err);
	list = !s->line->hidden && (!s->code || (check && check->executing_only)) &&
	       !(check && check->unlisted_only);
	if (is_listed(s) != list)
		fail_case(s, xn_asprintf("%s: %slisted", what, list ? "not " : ""), &err);
	xn_error_clear(&err);
}

static void begin(struct scene *s, struct api *api, int class_id, const struct line *line)
{
	scene_begin(s, api, class_id, line);
	for (unsigned i = 0; i < line->n_checks; i++) {
		const struct check *check = check_find(class_id, line->checks[i].text);

		if (check->avoid)
			check->avoid(s, line->checks[i].arg);
	}
}

/* ---- all cases of a line ---- */

static void nothing_made(struct api *api, int class_id, const struct line *line)
{
	struct scene s;

	begin(&s, api, class_id, line);
	for (unsigned i = 0; i < line->n_checks; i++) {
		const struct word *word = &line->checks[i];
		const struct check *check = check_find(class_id, word->text);

		if (check->always || strcmp(word->arg, "none") == 0) {
			check->make(&s, word->arg, 3);
			check->make(&s, word->arg, 0);
			break;
		}
	}
	ask(&s, NULL, "undisturbed");
	if (line->paused_in_upgrade && !s.code) {
		xn_db_map_put(s.db, s.pool, XN_pool_other_config, "rolling_upgrade_in_progress",
			      "true");
		ask(&s, &(struct check){.unlisted_only = true}, "in an upgrade");
	}
	scene_end(&s);
}

/* What may come must not be refused by what always comes first. */
static void never_reached(struct scene *s, const struct check *check, const struct word *word)
{
	struct xn_error err = {0};

	check->make(s, word->arg, 0);
	if (xn_operation_check(xn_operations_of(&s->api->core), s->class_id, xn_row_ref(s->row),
			       s->line->name, &err) == 0 ||
	    (s->code && strcmp(err.code, s->code) == 0))
		fail_case(s, "an earlier check should refuse", &err);
	xn_error_clear(&err);
}

static bool always_refused(const struct line *line, int class_id, unsigned before)
{
	for (unsigned i = 0; i < before; i++)
		if (strcmp(line->checks[i].arg, "none") == 0 ||
		    check_find(class_id, line->checks[i].text)->always)
			return true;
	return false;
}

static unsigned one_check(struct api *api, int class_id, const struct line *line, unsigned at)
{
	const struct word *word = &line->checks[at];
	const struct check *check = check_find(class_id, word->text);
	bool always_after = always_refused(line, class_id, line->n_checks);

	for (unsigned variant = 0;; variant++) {
		struct scene s;
		bool more;

		begin(&s, api, class_id, line);
		if (word->never) {
			never_reached(&s, check, word);
			more = false;
		} else {
			more = check->make(&s, word->arg, (int)variant);
			/* What passes this check is refused by the one that always refuses. */
			if (more && (s.code || !always_after))
				ask(&s, check, word->text);
		}
		scene_end(&s);
		if (!more)
			return variant + word->never;
	}
}

/* The check at @first and the one at @second both have a reason: the first one's is told. */
static unsigned two_checks(struct api *api, int class_id, const struct line *line, unsigned first,
			   unsigned second)
{
	const struct word *a = &line->checks[first], *b = &line->checks[second];
	const struct check *check = check_find(class_id, a->text);
	struct scene s;
	char what[80];
	unsigned asked = 0;

	begin(&s, api, class_id, line);
	check_find(class_id, b->text)->make(&s, b->arg, 0);
	for (int variant = 0; check->make(&s, a->arg, variant); variant++)
		if (s.code) {
			snprintf(what, sizeof(what), "%.30s, and %.30s", a->text, b->text);
			ask(&s, check_find(class_id, b->text)->executing_only ? check : NULL, what);
			asked = 1;
			break;
		}
	scene_end(&s);
	return asked;
}

static unsigned drive(struct api *api, int class_id, const struct line *line)
{
	unsigned n = 0;

	nothing_made(api, class_id, line);
	for (unsigned i = 0; i < line->n_checks; i++) {
		n += one_check(api, class_id, line, i);
		for (unsigned k = i + 1; !line->checks[i].never && k < line->n_checks; k++)
			if (!line->checks[k].never)
				n += two_checks(api, class_id, line, i, k);
		api_turn(api);
	}
	return n;
}

/* ---- a table ---- */

static void drive_table(struct api *api, int class_id, unsigned wanted_rows)
{
	char *path = xn_asprintf("%s/%s.txt", folder, xn_classes[class_id].name);
	FILE *file = fopen(path, "r");
	unsigned rows = 0, cases = 0, operations = 0;
	struct line line;

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	while (read_line(file, &line, &rows)) {
		cases += drive(api, class_id, &line);
		operations++;
	}
	fclose(file);
	free(path);
	print_message("%s: %u operations, %u rows, all driven, in %u ways\n",
		      xn_classes[class_id].name, operations, rows, cases);
	assert_int_equal(rows, wanted_rows);
}

#define TABLE(name, class_id, rows)                                                                \
	static void name(void **state)                                                             \
	{                                                                                          \
		drive_table(*state, class_id, rows);                                               \
	}
TABLE(virtual_machines, XN_CLASS_VM, 354)
TABLE(block_devices, XN_CLASS_VBD, 54)
TABLE(network_interfaces, XN_CLASS_VIF, 17)
TABLE(disks, XN_CLASS_VDI, 130)
TABLE(storage_repositories, XN_CLASS_SR, 53)
TABLE(hosts, XN_CLASS_host, 31)
TABLE(pools, XN_CLASS_pool, 127)
TABLE(appliances, XN_CLASS_VM_appliance, 12)
TABLE(usb_devices, XN_CLASS_VUSB, 9)
TABLE(tpm_devices, XN_CLASS_VTPM, 2)
TABLE(clusters, XN_CLASS_Cluster, 8)
TABLE(hosts_of_clusters, XN_CLASS_Cluster_host, 6)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, vm_setup, vm_teardown)
		TEST(virtual_machines),
		TEST(block_devices),
		TEST(network_interfaces),
		TEST(disks),
		TEST(storage_repositories),
		TEST(hosts),
		TEST(pools),
		TEST(appliances),
		TEST(usb_devices),
		TEST(tpm_devices),
		TEST(clusters),
		TEST(hosts_of_clusters),
	};

	folder = argc > 1 ? argv[1] : "tests/module/tables";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
