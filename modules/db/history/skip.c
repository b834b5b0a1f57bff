/* What history keeps and what it hides, of the configuration and of the schema; see history.h. */
#include "modules/db/history.h"

#include "core/config.h"
#include "core/past.h"
#include "modules/db/history/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- left out ---- */

static int skip_field(struct xn_history_skip *skip, const struct xn_class *cls, const char *name)
{
	int field = xn_field_find(cls, name);

	if (strcmp(name, "*") == 0) {
		skip->all[cls->id] = true;
		return 0;
	}
	if (field < 0)
		return -1;
	if (!skip->fields[cls->id])
		skip->fields[cls->id] = xn_calloc(cls->n_fields, sizeof(bool));
	skip->fields[cls->id][field] = true;
	return 0;
}

int xn_history_skip_parse(struct xn_history_skip *skip, const char *text, char **why)
{
	char *copy XN_CLEANUP(xn_free_p) = xn_strdup(text), *rest = copy, *word;

	while ((word = strsep(&rest, ", \t"))) {
		char *point = strchr(word, '.');
		const struct xn_class *cls;

		if (!*word)
			continue;
		if (point)
			*point = '\0';
		cls = xn_class_find(word);
		if (!cls || !point || skip_field(skip, cls, point + 1) < 0) {
			*why = xn_asprintf("\"%s%s%s\" is no class and field (VM.name_label, "
					   "VBD_metrics.*)",
					   word, point ? "." : "", point ? point + 1 : "");
			return -1;
		}
	}
	return 0;
}

void xn_history_skip_clear(struct xn_history_skip *skip)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		free(skip->fields[c]);
	*skip = (struct xn_history_skip){0};
}

bool xn_history_keeps_class(const struct xn_history_skip *skip, int class_id)
{
	const struct xn_class *cls = &xn_classes[class_id];

	return cls->in_database && !cls->internal && !skip->all[class_id];
}

bool xn_history_keeps_field(const struct xn_history_skip *skip, int class_id, int field)
{
	const struct xn_field *f = &xn_classes[class_id].fields[field];

	if (!xn_history_keeps_class(skip, class_id))
		return false;
	/* Internal references stay: sets on their other side may be public. */
	if (f->relation == XN_REL_ONE_TO_MANY || (f->internal && f->relation == XN_REL_NONE))
		return false;
	return !skip->fields[class_id] || !skip->fields[class_id][field];
}

int xn_history_options_read(struct xn_history_options *options, const struct xn_config *config,
			    char **why)
{
	enum { DAY_S = 24 * 3600 };
	const char *skip = xn_config_string(config, "history-skip");

	*options = (struct xn_history_options){
		.size = (uint64_t)xn_config_int(config, "history-size"),
		.age_us = xn_config_int(config, "history-age") * DAY_S * 1000000,
	};
	if (!skip || xn_history_skip_parse(&options->skip, skip, why) == 0)
		return 0;
	xn_history_options_clear(options);
	return -1;
}

void xn_history_options_clear(struct xn_history_options *options)
{
	xn_history_skip_clear(&options->skip);
}

/* ---- hidden ---- */

static bool is_secret_field(int class_id, int field)
{
	const struct xn_field *f = &xn_classes[class_id].fields[field];

	if (f->type->kind != XN_T_STRING)
		return false;
	return (class_id == XN_CLASS_secret && field == XN_secret_value) ||
	       xn_past_hides(f->name, strlen(f->name));
}

/* A map again, without the values of keys that sound secret. */
static int put_map(struct xn_cursor in, uint64_t n, const struct xn_slice *whole,
		   struct xn_buf *out)
{
	const unsigned char *first = in.at;

	xn_buf_add(out, whole->data, (size_t)(first - whole->data)); /* tag and count */
	while (n--) {
		struct xn_slice key;
		const unsigned char *value;

		if (xn_take_text(&in, &key) < 0)
			return -EBADMSG;
		value = in.at;
		if (xn_skip_value(&in) < 0)
			return -EBADMSG;
		xn_put_text(out, (const char *)key.data, key.len);
		if (xn_past_hides((const char *)key.data, key.len))
			xn_put_string(out, XN_HISTORY_HIDDEN);
		else
			xn_buf_add(out, value, (size_t)(in.at - value));
	}
	return 0;
}

static int put_shown(int class_id, int field, const struct xn_slice *value, struct xn_buf *out)
{
	struct xn_cursor in = {value->data, value->data + value->len};
	struct xn_token token;

	if (xn_take_token(&in, &token) < 0)
		return -EBADMSG;
	if (token.kind == XN_MAP)
		return put_map(in, token.n, value, out);
	if (token.kind == XN_STRING && token.text.len && is_secret_field(class_id, field))
		xn_put_string(out, XN_HISTORY_HIDDEN);
	else
		xn_buf_add(out, value->data, value->len);
	return 0;
}

int xn_recording_put_pairs(const struct xn_recording *recording, int class_id,
			   struct xn_cursor pairs, struct xn_buf *out, unsigned *n)
{
	struct xn_slice value;
	uint32_t no;
	int rc;

	*n = 0;
	while ((rc = xn_take_pair(&pairs, &no, &value)) == 1) {
		int field = xn_names_field(recording->names, class_id, no);

		if (field < 0 || !xn_history_keeps_field(recording->skip, class_id, field))
			continue;
		xn_put_varint(out, no);
		if (put_shown(class_id, field, &value, out) < 0)
			return -EBADMSG;
		++*n;
	}
	return rc;
}
