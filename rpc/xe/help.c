/*
 * `xe help`: what commands there are, and what one of them takes. In the field's layout, line by line;
 * to our own client by headings, with what each does, as wide as its terminal.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/module.h"
#include "rpc/xe/catalogue.h"
#include "rpc/xe/nearest.h"

/* ---- the field's layout ---- */

enum { LINE_MAX_FIELD = 75 };

static void print_usage(struct xe *x)
{
	static const char *const lines[] = {
		"Usage: xe <command> [-s server] [-pw password] [-p port] [-u user] [-pwf file]",
		"       [parameters of the command]",
		"",
		"What a command takes: xe help <command>",
		"All commands: xe help --all",
		"",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(lines); i++)
		xe_print(x, "%s", lines[i]);
}

static bool always(const struct xe_offer *offer)
{
	return true;
}

static bool is_of_hosts(const struct xe_offer *offer)
{
	return strncmp(offer->name, "host-", 5) == 0;
}

static bool is_of_vms(const struct xe_offer *offer)
{
	return strncmp(offer->name, "vm-", 3) == 0;
}

static bool is_of_neither(const struct xe_offer *offer)
{
	return !is_of_hosts(offer) && !is_of_vms(offer);
}

static bool is_shown(const struct xe_offer *offer, bool all)
{
	return !xe_offer_is_hidden(offer) && (all || xe_offer_is_standard(offer));
}

/* Names with commas between them, in lines. */
static void print_names(struct xe *x, const struct xe_catalogue *catalogue, bool all,
			bool (*belongs)(const struct xe_offer *offer))
{
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};

	for (unsigned i = 0; i < catalogue->n; i++) {
		const struct xe_offer *offer = &catalogue->items[i];

		if (!is_shown(offer, all) || !belongs(offer))
			continue;
		if (line.len && line.len + 2 + strlen(offer->name) > LINE_MAX_FIELD) {
			xe_print(x, "%s", xn_buf_cstr(&line));
			line.len = 0;
		}
		xn_buf_printf(&line, "%s%s", line.len ? ", " : "    ", offer->name);
	}
	if (line.len)
		xe_print(x, "%s", xn_buf_cstr(&line));
}

static void print_all(struct xe *x, const struct xe_catalogue *catalogue, bool all)
{
	print_usage(x);
	if (!all) {
		xe_print(x, "Common command list");
		xe_print(x, "-------------------");
		print_names(x, catalogue, false, always);
		return;
	}
	xe_print(x, "Full command list");
	xe_print(x, "-----------------");
	print_names(x, catalogue, true, is_of_hosts);
	xe_print(x, "%s", "");
	print_names(x, catalogue, true, is_of_vms);
	xe_print(x, "%s", "");
	print_names(x, catalogue, true, is_of_neither);
}

/* A record of four lines; scripts look for the words before the colons. */
static void print_one(struct xe *x, const struct xe_offer *offer)
{
	struct xn_buf required XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf optional XN_CLEANUP(xn_buf_clear_p) = {0};
	char doc[160];

	xe_offer_required(offer, ", ", &required);
	xe_offer_optional(offer, ", ", &optional);
	xe_print(x, "%-24s: %s\n%24s: %s\n%24s: %s\n%24s: %s\n\n", "command name        ",
		 offer->name, "reqd params     ", xn_buf_cstr(&required), "optional params ",
		 xn_buf_cstr(&optional), "description     ", xe_offer_doc(offer, doc, sizeof(doc)));
}

/* ---- our own layout ---- */

/* In the order of the help; the groups that a heading is for have blanks between them. */
static const struct heading {
	const char *groups, *title;
} headings[] = {
	{"vm", "Virtual machines"},
	{"snapshot", "Snapshots"},
	{"vmss", "Schedules of snapshots"},
	{"template", "Templates"},
	{"console", "Consoles"},
	{"vdi", "Disks"},
	{"vbd", "Disks and drives in VMs"},
	{"cd", "CD images"},
	{"sr sm", "Storage repositories"},
	{"pbd", "Hosts' connections to storage"},
	{"vif", "Network interfaces of VMs"},
	{"network", "Networks"},
	{"pif bond vlan tunnel", "Network cards of hosts, bonds, VLANs"},
	{"host pci hostdriver", "Hosts"},
	{"pool", "The pool"},
	{"appliance", "VMs that start together"},
	{"task", "Tasks"},
	{"event watch", "What happens"},
	{"message audit db xenstore", "What has happened"},
	{"diagnostic", "What the daemon is doing"},
	{"subject role user session secret", "Who may log in, and do what"},
	{"caller rate", "Who calls, and how often"},
	{"certificate", "Certificates"},
	{"gpu pgpu vgpu usb pusb vusb vtpm", "Other devices of VMs"},
	{"update patch repository", "Updates"},
	{"help", "This help"},
};

static const char *group_of(const struct xe_offer *offer, size_t *len_out)
{
	const char *group = offer->row ? xe_command_text(offer->row->group) : "";

	if (!*group)
		group = offer->row ? offer->name : xe_kind_prefix(offer->kind);
	*len_out = strcspn(group, "-");
	return group;
}

/* @groups: names with blanks between them. */
static bool is_in_group(const struct xe_offer *offer, const char *groups)
{
	char name[64];
	size_t len;
	const char *group = group_of(offer, &len);

	snprintf(name, sizeof(name), "%.*s", (int)len, group);
	return xe_command_list_has(groups, name);
}

static unsigned width_of(struct xe *x)
{
	unsigned columns = xe_screen(x).columns;

	return columns < 40 ? 80 : columns;
}

/* @text in lines no longer than @width; those behind the first begin at @indent. */
static void add_wrapped(struct xn_buf *out, const char *text, size_t at, size_t indent, size_t width)
{
	while (*text) {
		size_t len = strcspn(text, " ");

		if (at > indent && at + len > width) {
			while (out->len && out->data[out->len - 1] == ' ')
				out->len--;
			xn_buf_printf(out, "\n%*s", (int)indent, "");
			at = indent;
		}
		xn_buf_add(out, text, len);
		at += len;
		text += len;
		if (*text) {
			xn_buf_add_char(out, ' ');
			at++;
			text++;
		}
	}
	xn_buf_add_char(out, '\n');
}

static void add_line(struct xn_buf *out, const char *name, const char *doc, unsigned width)
{
	enum { INDENT = 28 };
	size_t before = out->len;

	xn_buf_printf(out, "  %s", name);
	if (out->len - before >= INDENT)
		xn_buf_printf(out, "\n%*s", INDENT, "");
	else
		xn_buf_printf(out, "%*s", (int)(INDENT - (out->len - before)), "");
	add_wrapped(out, doc, INDENT, INDENT, width);
}

/* The record tables' commands of a kind take one line together, but its list. */
static bool add_fields(struct xn_buf *out, const struct xe_offer *offer, unsigned width)
{
	struct xn_buf verbs XN_CLEANUP(xn_buf_clear_p) = {0};
	char name[72];

	if (offer->row || offer->verb == XE_LIST)
		return false;
	if (offer->verb != XE_PARAM_LIST)
		return true;
	for (int verb = XE_PARAM_LIST; verb < XE_VERBS; verb++)
		if (xe_kind_has(offer->kind, verb))
			xn_buf_printf(&verbs, "%s%s", verbs.len ? ", " : "",
				      xe_verb_suffix(verb) + strlen("-param-"));
	xn_buf_add_string(&verbs, ": a record's fields.");
	snprintf(name, sizeof(name), "%s-param-...", xe_kind_prefix(offer->kind));
	add_line(out, name, xn_buf_cstr(&verbs), width);
	return true;
}

static void add_title(struct xe *x, struct xn_buf *out, const char *title)
{
	bool colour = xe_screen(x).colour;

	xn_buf_printf(out, "%s%s%s%s\n", out->len ? "\n" : "", colour ? "\033[1m" : "", title,
		      colour ? "\033[m" : "");
}

/* In our short help, too: what one needs before most other commands, or to see what goes on. */
static bool is_useful(const struct xe_offer *offer)
{
	if (offer->row)
		return xe_command_list_has("watch event-wait task-explain db-log xenstore-log",
					   offer->name);
	return offer->verb == XE_LIST &&
	       is_in_group(offer, "vm snapshot template vdi sr host network task") &&
	       !strchr(xe_kind_prefix(offer->kind), '-');
}

static void add_group(struct xe *x, struct xn_buf *out, const struct xe_catalogue *catalogue,
		      const char *group, const char *title, bool all)
{
	unsigned width = width_of(x);
	bool is_first = true;
	char doc[160];

	for (unsigned i = 0; i < catalogue->n; i++) {
		const struct xe_offer *offer = &catalogue->items[i];

		if (!(is_shown(offer, all) || is_useful(offer)) || !is_in_group(offer, group))
			continue;
		if (is_first)
			add_title(x, out, title);
		is_first = false;
		if (!add_fields(out, offer, width))
			add_line(out, offer->name, xe_offer_doc(offer, doc, sizeof(doc)), width);
	}
}

static bool has_heading(const struct xe_offer *offer)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(headings); i++)
		if (is_in_group(offer, headings[i].groups))
			return true;
	return false;
}

static bool is_first_of_group(const struct xe_catalogue *catalogue, unsigned i, const char *group)
{
	for (unsigned k = 0; k < i; k++)
		if (is_in_group(&catalogue->items[k], group))
			return false;
	return true;
}

/* Groups without a heading, under their own names. */
static void add_others(struct xe *x, struct xn_buf *out, const struct xe_catalogue *catalogue, bool all)
{
	for (unsigned i = 0; i < catalogue->n; i++) {
		char group[64];
		size_t len;
		const char *text = group_of(&catalogue->items[i], &len);

		snprintf(group, sizeof(group), "%.*s", (int)len, text);
		if (!has_heading(&catalogue->items[i]) && is_first_of_group(catalogue, i, group))
			add_group(x, out, catalogue, group, group, all);
	}
}

static void show_all(struct xe *x, const struct xe_catalogue *catalogue, bool all)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_buf_add_string(&out, "xe COMMAND [NAME=VALUE ...] [--minimal | --json]\n");
	for (size_t i = 0; i < XN_ARRAY_SIZE(headings); i++)
		add_group(x, &out, catalogue, headings[i].groups, headings[i].title, all);
	add_others(x, &out, catalogue, all);
	add_wrapped(&out,
		    all ? "\nMore: 'xe help COMMAND' tells what a command takes, with examples."
			: "\nMore: 'xe help COMMAND' tells what a command takes, with examples; 'xe help "
			  "vm' lists what there is for VMs, and so for sr, network ...; 'xe help --all' "
			  "lists everything.",
		    0, 0, width_of(x));
	xe_raw(x, out.data, out.len - 1); /* the client adds the last newline */
}

static void add_parameters(struct xe *x, struct xn_buf *out, const char *title, const char *list)
{
	if (!*list)
		return;
	add_title(x, out, title);
	xn_buf_add_string(out, "  ");
	add_wrapped(out, list, 2, 2, width_of(x));
}

/* A field that the verb is for; one of the shape if there is one. */
static const char *field_for(const struct xe_offer *offer, unsigned shape)
{
	static const unsigned wanted[XE_VERBS] = {
		[XE_PARAM_SET] = XE_F_SET,
		[XE_PARAM_ADD] = XE_F_ADD,
		[XE_PARAM_REMOVE] = XE_F_REMOVE,
		[XE_PARAM_CLEAR] = XE_F_REMOVE | XE_F_CLEAR | XE_F_SET,
	};
	const char *first = NULL;

	for (unsigned i = 0; i < xe_field_count(offer->kind); i++) {
		unsigned flags = xe_field_flags(offer->kind, i);
		const char *name = xe_field_name(offer->kind, i);

		if (strcmp(name, "uuid") == 0 || (wanted[offer->verb] && !(flags & wanted[offer->verb])))
			continue;
		if ((flags & XE_F_SHAPE) == shape)
			return name;
		first = first ? first : name;
	}
	return first ? first : "FIELD";
}

static void add_own_examples(struct xn_buf *out, const struct xe_offer *offer)
{
	const char *prefix = xe_kind_prefix(offer->kind), *name = offer->name;
	const char *scalar = field_for(offer, XE_SCALAR), *map = field_for(offer, XE_MAP);
	int number = xe_field_find(offer->kind, map, strlen(map));
	bool has_map = number >= 0 && (xe_field_flags(offer->kind, (unsigned)number) & XE_F_SHAPE) == XE_MAP;

	if (offer->verb == XE_LIST)
		xn_buf_printf(out, "  xe %s\n  xe %s params=all\n  xe %s params=uuid --minimal\n", name, name, name);
	else if (offer->verb == XE_PARAM_LIST)
		xn_buf_printf(out, "  xe %s uuid=UUID\n", name);
	else if (offer->verb == XE_PARAM_SET)
		xn_buf_printf(out, "  xe %s uuid=UUID %s=VALUE\n", name, scalar);
	else if (offer->verb == XE_PARAM_ADD && has_map)
		xn_buf_printf(out, "  xe %s uuid=UUID param-name=%s KEY=VALUE\n", name, map);
	else if (offer->verb == XE_PARAM_ADD || offer->verb == XE_PARAM_REMOVE)
		xn_buf_printf(out, "  xe %s uuid=UUID param-name=%s param-key=%s\n", name, map,
			      has_map ? "KEY" : "MEMBER");
	else
		xn_buf_printf(out, "  xe %s uuid=UUID param-name=%s\n", name, scalar);
	if (offer->verb != XE_LIST)
		xn_buf_printf(out, "'xe %s-list' tells the uuids.\n", prefix);
}

static void add_examples(struct xe *x, struct xn_buf *out, const struct xe_offer *offer)
{
	const char *at = offer->row ? xe_command_text(offer->row->example) : "";

	if (*at || !offer->row)
		add_title(x, out, "Examples");
	if (!offer->row)
		add_own_examples(out, offer);
	while (*at) {
		size_t len = strcspn(at, "\n");

		xn_buf_printf(out, "  %.*s\n", (int)len, at);
		at += len + (at[len] == '\n');
	}
}

static void show_one(struct xe *x, const struct xe_offer *offer)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf required XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf optional XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned width = width_of(x), flags = offer->row ? offer->row->flags : 0;
	const char *selectors;
	char doc[160];

	xe_offer_required(offer, "= ", &required);
	xe_offer_optional(offer, ", ", &optional);
	selectors = optional.len ? memchr(optional.data, '<', optional.len) : NULL;
	if (selectors) /* these are told below */
		optional.len = (size_t)(selectors - optional.data);
	while (optional.len && strchr(", ", optional.data[optional.len - 1]))
		optional.len--;
	xn_buf_printf(&out, "xe %s%s", offer->name, required.len ? " " : "");
	if (required.len)
		xn_buf_add_char(&required, '=');
	add_wrapped(&out, xn_buf_cstr(&required), out.len, 4, width);
	xn_buf_add_char(&out, '\n');
	add_wrapped(&out, xe_offer_doc(offer, doc, sizeof(doc)), 0, 0, width);
	if (flags & XE_DEPRECATED)
		xn_buf_printf(&out, "Deprecated. %s.\n",
			      xe_command_text(offer->row->deprecated));
	add_parameters(x, &out, "It also takes", xn_buf_cstr(&optional));
	if (flags & (XE_VM_SELECTORS | XE_HOST_SELECTORS | XE_SR_SELECTORS))
		add_parameters(x, &out, "Which ones",
			       "Any field as NAME=VALUE picks by its value; vm=, host=, sr= by uuid or name. "
			       "Several only with --multiple.");
	add_examples(x, &out, offer);
	xe_raw(x, out.data, out.len - 1);
}

/* ---- the command ---- */

static bool show_group(struct xe *x, const struct xe_catalogue *catalogue, const char *name)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	const char *title = name;

	for (size_t i = 0; i < XN_ARRAY_SIZE(headings); i++)
		if (xe_command_list_has(headings[i].groups, name)) {
			title = headings[i].title;
			name = headings[i].groups;
		}
	add_group(x, &out, catalogue, name, title, true);
	if (out.len)
		xe_raw(x, out.data, out.len - 1);
	return out.len > 0;
}

static void say_unknown(struct xe *x, const struct xe_catalogue *catalogue, const char *name)
{
	struct xe_nearest nearest;

	xe_print(x, "Unknown command '%s'", name);
	if (!xe_screen(x).is_ours)
		return;
	xe_nearest_begin(&nearest, name);
	for (unsigned i = 0; i < catalogue->n; i++)
		if (!xe_offer_is_hidden(&catalogue->items[i]))
			xe_nearest_offer(&nearest, catalogue->items[i].name);
	if (xe_nearest_best(&nearest))
		xe_print(x, "Did you mean '%s'?", xe_nearest_best(&nearest));
}

static void tell_one(struct xe *x, const struct xe_catalogue *catalogue, const char *name)
{
	struct xe_offer offer;
	bool is_values = xe_is_minimal(x) || xe_is_json(x);

	if (!xe_offer_find(xe_core(x)->methods, name, &offer)) {
		if (is_values || !xe_screen(x).is_ours || !show_group(x, catalogue, name))
			say_unknown(x, catalogue, name);
	} else if (is_values) {
		xe_value(x, offer.name);
	} else if (xe_screen(x).is_ours) {
		show_one(x, &offer);
	} else {
		print_one(x, &offer);
	}
}

xe_handler xe_cmd_help; /* named by commands.txt */

void xe_cmd_help(struct xe *x)
{
	const struct xe_arguments *arguments = xe_arguments(x);
	bool all = xe_arguments_have(arguments, "all"), is_about_one = false;
	struct xe_catalogue catalogue XN_CLEANUP(xe_catalogue_clear) = {0};

	xe_catalogue_fill(&catalogue, xe_core(x)->methods);
	for (unsigned i = 0; i < arguments->n; i++)
		if (!xe_argument_is_general(arguments->items[i].name) &&
		    strcmp(arguments->items[i].name, "json") != 0) {
			tell_one(x, &catalogue, arguments->items[i].name);
			is_about_one = true;
		}
	if (is_about_one)
		return;
	if (xe_is_minimal(x) || xe_is_json(x)) {
		for (unsigned i = 0; i < catalogue.n; i++)
			if (is_shown(&catalogue.items[i], all))
				xe_value(x, catalogue.items[i].name);
	} else if (xe_screen(x).is_ours) {
		show_all(x, &catalogue, all);
	} else {
		print_all(x, &catalogue, all);
	}
}
