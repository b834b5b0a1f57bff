/* The names dictionary; see names.h. */
#include "modules/db/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX_LEN = 128, NAMES_MAX = UINT16_MAX };

void xn_names_init(struct xn_names *names)
{
	*names = (struct xn_names){.n = 1};
	names->by_no = xn_calloc(1, sizeof(*names->by_no));
	names->by_no[0] = (struct xn_name){-1, -1};
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		names->field_no[c] = xn_calloc(xn_classes[c].n_fields, sizeof(uint16_t));
}

void xn_names_clear(struct xn_names *names)
{
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		free(names->field_no[c]);
	free(names->by_no);
	xn_buf_clear(&names->bytes);
	*names = (struct xn_names){0};
}

/* @text: "VM" or "VM.name_label"; changed for a moment. */
static struct xn_name resolve(char *text)
{
	struct xn_name unknown = {-1, -1};
	char *point = strchr(text, '.');
	const struct xn_class *cls;
	int field = -1;

	if (point)
		*point = '\0';
	cls = xn_class_find(text);
	if (cls && point)
		field = xn_field_find(cls, point + 1);
	if (!cls || (point && field < 0))
		return unknown;
	return (struct xn_name){(int16_t)cls->id, (int16_t)field};
}

static void add(struct xn_names *names, const char *text, struct xn_name name)
{
	uint16_t no = (uint16_t)names->n++;

	names->by_no = xn_realloc(names->by_no, names->n * sizeof(*names->by_no));
	names->by_no[no] = name;
	xn_put_text(&names->bytes, text, strlen(text));
	if (name.class_id < 0)
		return;
	if (name.field < 0)
		names->class_no[name.class_id] = no;
	else
		names->field_no[name.class_id][name.field] = no;
}

int xn_names_load(struct xn_names *names, const void *bytes, size_t len)
{
	struct xn_cursor in = xn_cursor(bytes, len);

	/* Numbers are for ever: a dictionary only grows. */
	if (len < names->bytes.len ||
	    (names->bytes.len && memcmp(bytes, names->bytes.data, names->bytes.len) != 0))
		return -EBADMSG;
	xn_names_clear(names);
	xn_names_init(names);
	while (in.at != in.end) {
		char text[NAME_MAX_LEN], copy[NAME_MAX_LEN];
		struct xn_slice name;

		if (xn_take_text(&in, &name) < 0 || name.len >= sizeof(text) || !name.len ||
		    memchr(name.data, '\0', name.len) || names->n >= NAMES_MAX)
			return -EBADMSG;
		memcpy(text, name.data, name.len);
		text[name.len] = '\0';
		memcpy(copy, text, name.len + 1);
		add(names, text, resolve(copy));
	}
	return 0;
}

bool xn_names_complete(struct xn_names *names)
{
	bool added = false;

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		const struct xn_class *cls = &xn_classes[c];

		if (!names->class_no[c]) {
			add(names, cls->name, (struct xn_name){(int16_t)c, -1});
			added = true;
		}
		for (unsigned f = 0; f < cls->n_fields; f++) {
			char text[NAME_MAX_LEN];

			if (names->field_no[c][f])
				continue;
			snprintf(text, sizeof(text), "%s.%s", cls->name, cls->fields[f].name);
			add(names, text, (struct xn_name){(int16_t)c, (int16_t)f});
			added = true;
		}
	}
	return added;
}

int xn_names_class(const struct xn_names *names, uint32_t no)
{
	if (no >= names->n || names->by_no[no].field >= 0)
		return -1;
	return names->by_no[no].class_id;
}

int xn_names_field(const struct xn_names *names, int class_id, uint32_t no)
{
	if (no >= names->n || names->by_no[no].class_id != class_id)
		return -1;
	return names->by_no[no].field;
}
