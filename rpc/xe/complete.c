/*
 * `xe complete point=1 line:0=vm-start line:1=vm=we`: what the word at the point can become, for shells. A
 * candidate a line, with what it is behind a tab; the line "<tab>file" leaves it to the shell, which
 * knows files. Words count from the command's name.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/module.h"
#include "rpc/xe/catalogue.h"

enum {
	MAX_WORDS = 64,
	MAX_OFFERED = 500,  /* nobody reads more */
	MAX_LOOKED_AT = 2000, /* rows */
};

struct completion {
	struct xe *x;
	struct xe_argument words[MAX_WORDS]; /* split at their first '=' */
	unsigned n, point;
	const char *word; /* as far as it is typed */
	struct xe_offer offer; /* the command; where point is not its */
	bool may_repeat; /* what is offered are values of rows */
	char *offered[MAX_OFFERED];
	unsigned n_offered;
};

/* ---- candidates ---- */

/* What is offered begins with @before, the part of the word that stays. */
static void offer(struct completion *c, const char *before, const char *text, const char *doc)
{
	char *candidate;

	if (c->n_offered == MAX_OFFERED || strpbrk(text, "\n\t"))
		return;
	candidate = xn_asprintf("%s%s", before, text);
	if (strncmp(candidate, c->word, strlen(c->word)) != 0) {
		free(candidate);
		return;
	}
	for (unsigned i = 0; c->may_repeat && i < c->n_offered; i++)
		if (strcmp(c->offered[i], candidate) == 0) {
			free(candidate);
			return;
		}
	c->offered[c->n_offered++] = candidate;
	xe_value(c->x, xe_text(c->x, "%s\t%.*s", candidate, (int)strcspn(doc, "\n\t"), doc));
}

static void offer_files(struct completion *c)
{
	xe_value(c->x, "\tfile");
}

static const char *value_of(const struct completion *c, const char *name)
{
	for (unsigned i = 1; i < c->n; i++)
		if (i != c->point && strcmp(c->words[i].name, name) == 0)
			return c->words[i].value;
	return NULL;
}

static bool is_given(const struct completion *c, const char *name)
{
	return value_of(c, name) != NULL;
}

/* ---- commands ---- */

static void offer_commands(struct completion *c)
{
	struct xe_catalogue catalogue XN_CLEANUP(xe_catalogue_clear) = {0};
	char doc[160];

	xe_catalogue_fill(&catalogue, xe_core(c->x)->methods);
	for (unsigned i = 0; i < catalogue.n; i++)
		if (!xe_offer_is_hidden(&catalogue.items[i]))
			offer(c, "", catalogue.items[i].name,
			      xe_offer_doc(&catalogue.items[i], doc, sizeof(doc)));
}

/* ---- what kind of record a command, and a parameter, is about ---- */

static const struct xe_kind *kind_of_command(const struct completion *c)
{
	const struct xe_command_row *row = c->offer.row;

	if (!row)
		return c->offer.kind;
	if (row->flags & XE_VM_SELECTORS)
		return xe_kind_find("vm", 2);
	if (row->flags & XE_HOST_SELECTORS)
		return xe_kind_find("host", 4);
	if (row->flags & XE_SR_SELECTORS)
		return xe_kind_find("sr", 2);
	if (strcmp(c->offer.name, "event-wait") == 0) {
		const char *class = value_of(c, "class");

		return class ? xe_kind_find(class, strlen(class)) : NULL;
	}
	return xe_kind_find(c->offer.name, strcspn(c->offer.name, "-"));
}

/* "network-uuid", "vdi-uuids": a kind's, or NULL. */
static const struct xe_kind *kind_of_uuid(const struct completion *c, const char *name)
{
	const char *end = strstr(name, "-uuid");

	if (strcmp(name, "uuid") == 0 || strcmp(name, "uuids") == 0)
		return kind_of_command(c);
	if (!end || (strcmp(end, "-uuid") != 0 && strcmp(end, "-uuids") != 0))
		return NULL;
	return xe_kind_find(name, (size_t)(end - name));
}

static const struct xe_kind *kind_of_name(const char *name)
{
	static const struct {
		const char *name, *prefix;
	} names[] = {{"vm", "vm"},	   {"host", "host"},		{"sr", "sr"},
		     {"on", "host"},	   {"template", "template"},	{"sr-name-label", "sr"},
		     {"network", "network"}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (strcmp(names[i].name, name) == 0)
			return xe_kind_find(names[i].prefix, strlen(names[i].prefix));
	return NULL;
}

static bool selects(const struct completion *c)
{
	unsigned selectors = XE_VM_SELECTORS | XE_HOST_SELECTORS | XE_SR_SELECTORS;

	return c->offer.row ? (c->offer.row->flags & selectors) != 0 : c->offer.verb == XE_LIST;
}

/* ---- rows ---- */

static const char *name_of(const struct xn_row *row)
{
	int field = xn_classes[xn_row_class(row)].name_label_field;

	return field >= 0 ? xn_row_string(row, field) : "";
}

/* Of the rows that a list of the kind would show: their uuids or their names, and the other behind. */
static void offer_rows(struct completion *c, const struct xe_kind *kind, const char *before, bool by_name)
{
	struct xn_db *db = xe_db(c->x);
	struct xe_arguments none = {0};
	struct xe_filter *filter XN_CLEANUP(xe_filter_free_p) = xe_filter_new(kind, &none, NULL, NULL);
	unsigned n = 0;

	if (!xe_kind_is_open(c->x, kind))
		return;
	c->may_repeat = by_name;
	xe_filter_add_implied(filter);
	for (struct xn_row *row = xn_db_first(db, xe_kind_class(kind)); row && n < MAX_LOOKED_AT;
	     row = xn_db_next(db, row), n++) {
		struct xn_record *record = xn_row_take(row);
		struct xe_item item = xe_item_of(record);

		if (!xe_filter_passes(filter, db, &item))
			/* a template is not for vm-start */;
		else if (by_name)
			offer(c, before, name_of(row), xn_row_uuid(row));
		else
			offer(c, before, xn_row_uuid(row), name_of(row));
		xn_record_unref(record);
	}
}

/* What can be put into a drive. */
static void offer_discs(struct completion *c, const char *before)
{
	struct xn_db *db = xe_db(c->x);
	unsigned n = 0;

	c->may_repeat = true;
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_VDI); row && n < MAX_LOOKED_AT;
	     row = xn_db_next(db, row), n++) {
		const struct xn_row *sr =
			xn_db_get(db, XN_CLASS_SR, xn_row_string(row, XN_VDI_SR));

		if (sr && strcmp(xn_row_string(sr, XN_SR_content_type), "iso") == 0)
			offer(c, before, name_of(row), xn_row_uuid(row));
	}
}

/* What the field's values are now, of one record or of all that a list would show. */
static void offer_values(struct completion *c, const struct xe_kind *kind, unsigned field,
			 const char *before, const char *uuid)
{
	struct xn_db *db = xe_db(c->x);
	struct xe_arguments none = {0};
	struct xe_filter *filter XN_CLEANUP(xe_filter_free_p) = xe_filter_new(kind, &none, NULL, NULL);
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned n = 0;

	/* A secret is for who asks for it, and for no terminal before that. */
	if (xe_kind_class(kind) == XN_CLASS_secret || (xe_field_flags(kind, field) & XE_F_CALL) ||
	    !xe_kind_is_open(c->x, kind))
		return;
	c->may_repeat = true;
	if (!c->offer.row && c->offer.verb == XE_LIST)
		xe_filter_add_implied(filter);
	for (struct xn_row *row = xn_db_first(db, xe_kind_class(kind)); row && n < MAX_LOOKED_AT;
	     row = xn_db_next(db, row), n++) {
		struct xn_record *record;
		struct xe_item item;

		if (uuid && strcmp(uuid, xn_row_uuid(row)) != 0)
			continue;
		record = xn_row_take(row);
		item = xe_item_of(record);
		text.len = 0;
		if (xe_filter_passes(filter, db, &item))
			xe_field_print(db, kind, field, &item, &text);
		xn_record_unref(record);
		if (text.len)
			offer(c, before, xn_buf_cstr(&text), "");
	}
}

/* ---- names of parameters ---- */

static void offer_list(struct completion *c, const char *list, const char *doc)
{
	while (*(list += strspn(list, " ,"))) {
		size_t len = strcspn(list, " ,");
		bool is_map = len && list[len - 1] == ':';
		const char *name = xe_text(c->x, "%.*s", (int)len, list);

		if (*name != '<' && !is_given(c, name))
			offer(c, "", xe_text(c->x, "%s%s", name, is_map ? "" : "="), doc);
		list += len;
	}
}

static void offer_fields(struct completion *c, const struct xe_kind *kind, unsigned wanted,
			 const char *end, const char *doc)
{
	for (unsigned i = 0; i < xe_field_count(kind); i++) {
		unsigned flags = xe_field_flags(kind, i);

		if (!(flags & XE_F_HIDDEN) && (!wanted || (flags & wanted)) &&
		    !is_given(c, xe_field_name(kind, i)))
			offer(c, "", xe_text(c->x, "%s%s", xe_field_name(kind, i), end), doc);
	}
}

static void offer_settable(struct completion *c, const struct xe_kind *kind)
{
	for (unsigned i = 0; i < xe_field_count(kind); i++) {
		unsigned flags = xe_field_flags(kind, i);

		if (flags & XE_F_SET)
			offer(c, "", xe_text(c->x, "%s=", xe_field_name(kind, i)), "to set");
		if ((flags & XE_F_SHAPE) == XE_MAP && (flags & (XE_F_ADD | XE_F_SET_KEY)))
			offer(c, "", xe_text(c->x, "%s:", xe_field_name(kind, i)), "to set a key of");
	}
}

static void offer_switches(struct completion *c)
{
	offer(c, "", "--minimal", "values only, with commas between them");
	offer(c, "", "--json", "as JSON");
	if (!selects(c))
		return;
	if (c->offer.row)
		offer(c, "", "--multiple", "for all that match");
	else
		offer(c, "", "--all", "whatever the filters");
}

static void offer_parameters(struct completion *c)
{
	struct xn_buf required XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf optional XN_CLEANUP(xn_buf_clear_p) = {0};
	const struct xe_kind *kind = kind_of_command(c);

	xe_offer_required(&c->offer, ",", &required);
	offer_list(c, xn_buf_cstr(&required), "required");
	if (c->offer.row || c->offer.verb == XE_PARAM_GET) {
		xe_offer_optional(&c->offer, ",", &optional);
		offer_list(c, xn_buf_cstr(&optional), "optional");
	} else if (c->offer.verb == XE_PARAM_SET && kind) {
		offer_settable(c, kind);
	} else if (c->offer.verb == XE_PARAM_ADD || c->offer.verb == XE_PARAM_REMOVE) {
		offer_list(c, "param-key", "a member or a key");
	} else if (c->offer.verb == XE_LIST) {
		offer_list(c, "params", "columns");
	}
	if (selects(c) && kind) {
		if (c->offer.row)
			offer_list(c, xe_kind_prefix(kind), "by uuid or name");
		offer_fields(c, kind, 0, "=", "filter");
	} else if (strcmp(c->offer.name, "event-wait") == 0 && kind) {
		offer_fields(c, kind, 0, "=", "to wait for");
	}
	if (!*c->word || *c->word == '-')
		offer_switches(c);
}

/* ---- values ---- */

static void offer_param_names(struct completion *c, const struct xe_kind *kind)
{
	static const unsigned wanted[XE_VERBS] = {
		[XE_PARAM_ADD] = XE_F_ADD,
		[XE_PARAM_REMOVE] = XE_F_REMOVE,
		[XE_PARAM_CLEAR] = XE_F_REMOVE | XE_F_CLEAR | XE_F_SET,
	};

	for (unsigned i = 0; i < xe_field_count(kind); i++)
		if (!wanted[c->offer.verb] || (xe_field_flags(kind, i) & wanted[c->offer.verb]))
			offer(c, "param-name=", xe_field_name(kind, i), "");
}

/* The last of names with commas between them. */
static void offer_columns(struct completion *c, const struct xe_kind *kind)
{
	const char *comma = strrchr(c->word, ',');
	size_t len = comma ? (size_t)(comma + 1 - c->word) : strlen("params=");
	const char *before = xe_text(c->x, "%.*s", (int)len, c->word);

	if (!comma)
		offer(c, before, "all", "every field");
	for (unsigned i = 0; i < xe_field_count(kind); i++)
		if (!(xe_field_flags(kind, i) & XE_F_HIDDEN))
			offer(c, before, xe_field_name(kind, i), "");
}

static void offer_booleans(struct completion *c, const char *before)
{
	offer(c, before, "true", "");
	offer(c, before, "false", "");
}

/* Of a field: what its type can be, or else what there is. */
static void offer_field_values(struct completion *c, const struct xe_kind *kind, unsigned field,
			       const char *before)
{
	const struct xn_class *class = &xn_classes[xe_kind_class(kind)];
	char *name = xn_strdup(xe_field_name(kind, field));
	const struct xn_type *type;
	int number;

	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
	number = xn_field_find(class, name);
	free(name);
	type = number >= 0 ? class->fields[number].type : NULL;
	if (type && type->kind == XN_T_BOOL) {
		offer_booleans(c, before);
	} else if (!c->offer.row && c->offer.verb == XE_PARAM_SET) {
		for (unsigned i = 0; type && type->kind == XN_T_ENUM && i < type->enumeration->n_values; i++)
			offer(c, before, type->enumeration->values[i], "");
		if (!type || type->kind != XN_T_ENUM)
			offer_values(c, kind, field, before, value_of(c, "uuid"));
	} else {
		offer_values(c, kind, field, before, NULL);
	}
}

static bool is_one_of(const char *list, const char *name)
{
	return xe_command_list_has(list, name);
}

static void offer_event_classes(struct completion *c)
{
	static const char *const classes[] = {"vm",  "vdi",  "sr",   "host", "network", "vif",    "pif", "vbd",
					      "pbd", "pool", "task", "subject", "role", "secret", "vmss"};

	for (size_t i = 0; i < XN_ARRAY_SIZE(classes); i++)
		offer(c, "class=", classes[i], "");
}

static void offer_value(struct completion *c, const char *name)
{
	const char *before = xe_text(c->x, "%s=", name);
	const struct xe_kind *kind = kind_of_command(c), *of_uuid = kind_of_uuid(c, name),
			     *named = kind_of_name(name);
	bool is_own = c->offer.row &&
		      (is_one_of(xe_command_text(c->offer.row->required), name) ||
		       is_one_of(xe_command_text(c->offer.row->optional), name));
	int field = kind && !is_own ? xe_field_find(kind, name, strlen(name)) : XE_NO_FIELD;

	if (is_one_of("filename file-name file", name))
		offer_files(c);
	else if (strcmp(name, "params") == 0 && !c->offer.row)
		offer_columns(c, kind);
	else if (strcmp(name, "param-name") == 0 && !c->offer.row)
		offer_param_names(c, kind);
	else if (strcmp(name, "class") == 0 && strcmp(c->offer.name, "event-wait") == 0)
		offer_event_classes(c);
	else if (of_uuid && (is_own || !c->offer.row || strcmp(name, "uuid") == 0))
		offer_rows(c, of_uuid, before, false);
	else if (field != XE_NO_FIELD)
		offer_field_values(c, kind, (unsigned)field, before);
	else if (named)
		offer_rows(c, named, before, true);
	else if (strcmp(name, "cd-name") == 0)
		offer_discs(c, before);
	else if (is_one_of("force multiple minimal json all paused live progress shared sharable read-only "
			   "metadata preserve-power-state dry-run enabled", name))
		offer_booleans(c, before);
}

/* ---- the command ---- */

/* line:0=..., line:1=... in their places. False: these are none, or too many. */
static bool read_words(struct completion *c)
{
	const struct xe_arguments *arguments = xe_arguments(c->x);

	for (unsigned i = 0; i < arguments->n; i++) {
		const struct xe_argument *argument = &arguments->items[i];
		unsigned long at;
		const char *equals;

		if (strncmp(argument->name, "line:", 5) != 0)
			continue;
		at = strtoul(argument->name + 5, NULL, 10);
		if (at >= MAX_WORDS)
			continue;
		equals = strchr(argument->value, '=');
		if (at == c->point)
			c->word = argument->value;
		c->words[at].name = equals ? xe_text(c->x, "%.*s", (int)(equals - argument->value),
						     argument->value)
					   : argument->value;
		c->words[at].value = equals ? equals + 1 : "";
		if (at >= c->n)
			c->n = (unsigned)at + 1;
	}
	for (unsigned i = 0; i < c->n; i++)
		if (!c->words[i].name)
			c->words[i] = (struct xe_argument){"", ""};
	return c->point < MAX_WORDS;
}

xe_handler xe_cmd_complete; /* named by commands.txt */

void xe_cmd_complete(struct xe *x)
{
	struct completion c = {.x = x, .word = ""};
	int64_t point;

	if (!xe_param_int(x, "point", 0, &point))
		return;
	c.point = point >= 0 && point < MAX_WORDS ? (unsigned)point : MAX_WORDS;
	if (!read_words(&c))
		return;
	if (c.point == 0 || strcmp(c.words[0].name, "help") == 0)
		offer_commands(&c);
	else if (!xe_offer_find(xe_core(x)->methods, c.words[0].name, &c.offer))
		/* nobody knows */;
	else if (strchr(c.word, '='))
		offer_value(&c, c.words[c.point].name);
	else
		offer_parameters(&c);
	for (unsigned i = 0; i < c.n_offered; i++)
		free(c.offered[i]);
}
