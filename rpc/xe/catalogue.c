/* What the daemon offers as commands, from the two tables that tell of them. */
#include "rpc/xe/catalogue.h"

#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct xe_offer *)a)->name, ((const struct xe_offer *)b)->name);
}

static struct xe_offer *add(struct xe_catalogue *catalogue)
{
	unsigned n = catalogue->n++;

	if ((n & (n - 1)) == 0)
		catalogue->items = xn_realloc(catalogue->items,
					      (n ? 2 * n : 1) * sizeof(*catalogue->items));
	catalogue->items[n] = (struct xe_offer){0};
	return &catalogue->items[n];
}

static void name_row(struct xe_offer *offer, const struct xe_command_row *row)
{
	offer->row = row;
	snprintf(offer->name, sizeof(offer->name), "%s", xe_command_text(row->name));
}

void xe_catalogue_fill(struct xe_catalogue *catalogue, const struct xn_methods *methods)
{
	const struct xe_kind *kind;

	for (unsigned i = 0; i < xe_n_command_rows; i++)
		if (xe_command_is_there(methods, &xe_command_rows[i]))
			name_row(add(catalogue), &xe_command_rows[i]);
	for (unsigned i = 0; (kind = xe_kind_at(i)); i++)
		for (int verb = 0; verb < XE_VERBS; verb++) {
			struct xe_offer *offer;

			if (!xe_kind_has(kind, verb))
				continue;
			offer = add(catalogue);
			offer->kind = kind;
			offer->verb = verb;
			snprintf(offer->name, sizeof(offer->name), "%s%s", xe_kind_prefix(kind),
				 xe_verb_suffix(verb));
		}
	qsort(catalogue->items, catalogue->n, sizeof(*catalogue->items), compare);
}

void xe_catalogue_clear(struct xe_catalogue *catalogue)
{
	free(catalogue->items);
	*catalogue = (struct xe_catalogue){0};
}

bool xe_offer_find(const struct xn_methods *methods, const char *name, struct xe_offer *offer_out)
{
	const struct xe_command_row *row = xe_command_find(name);

	*offer_out = (struct xe_offer){0};
	if (row && xe_command_is_there(methods, row)) {
		name_row(offer_out, row);
		return true;
	}
	if (row)
		return false;
	offer_out->kind = xe_generated_find(name, &offer_out->verb);
	snprintf(offer_out->name, sizeof(offer_out->name), "%s", name);
	return offer_out->kind != NULL;
}

bool xe_offer_is_hidden(const struct xe_offer *offer)
{
	return offer->row && (offer->row->flags & XE_HIDDEN);
}

bool xe_offer_is_standard(const struct xe_offer *offer)
{
	return offer->row ? offer->row->flags & XE_STANDARD
			  : xe_generated_is_standard(offer->kind, offer->verb);
}

const char *xe_offer_doc(const struct xe_offer *offer, char *buf, size_t size)
{
	static const char *const docs[XE_VERBS] = {
		[XE_LIST] = "List %s records: all, or those whose fields have the given values.",
		[XE_PARAM_LIST] = "Show all fields of a %s record.",
		[XE_PARAM_GET] = "Show one field of a %s record, or one key of it.",
		[XE_PARAM_SET] = "Set fields of a %s record, or keys of them.",
		[XE_PARAM_ADD] = "Add to a field of a %s record that is a set or a map.",
		[XE_PARAM_REMOVE] = "Take a member or a key from a field of a %s record.",
		[XE_PARAM_CLEAR] = "Empty a field of a %s record.",
	};
	const char *mark;

	if (offer->row)
		return xe_command_text(offer->row->doc);
	mark = strstr(docs[offer->verb], "%s");
	snprintf(buf, size, "%.*s%s%s", (int)(mark - docs[offer->verb]), docs[offer->verb],
		 xe_kind_prefix(offer->kind), mark + 2);
	return buf;
}

/* The items of a list that blanks or commas part. */
static void add_list(const char *list, const char *separator, struct xn_buf *out)
{
	while (*(list += strspn(list, " ,"))) {
		size_t len = strcspn(list, " ,");

		if (out->len)
			xn_buf_add_string(out, separator);
		xn_buf_add(out, list, len);
		list += len;
	}
}

void xe_offer_required(const struct xe_offer *offer, const char *separator, struct xn_buf *out)
{
	add_list(offer->row ? xe_command_text(offer->row->required) : xe_verb_required(offer->verb),
		 separator, out);
}

void xe_offer_optional(const struct xe_offer *offer, const char *separator, struct xn_buf *out)
{
	struct xn_buf list XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned flags = offer->row ? offer->row->flags : 0;

	if (!offer->row)
		xe_generated_optional(offer->kind, offer->verb, &list);
	add_list(offer->row ? xe_command_text(offer->row->optional) : xn_buf_cstr(&list), separator,
		 out);
	if (flags & XE_VM_SELECTORS)
		add_list("<vm-selectors>", separator, out);
	if (flags & XE_HOST_SELECTORS)
		add_list("<host-selectors>", separator, out);
	if (flags & XE_SR_SELECTORS)
		add_list("<sr-selectors>", separator, out);
}
