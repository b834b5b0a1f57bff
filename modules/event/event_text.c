/*
 * One event as text, for event.from and event.next: what goes before the object's record, and what
 * goes behind. Class names, references and numbers need no escapes in either format.
 */
#include "modules/event/event_internal.h"

#include <inttypes.h>
#include <stdio.h>

const char *const operation_names[OP_COUNT] = {"add", "mod", "del"};

static void literal(struct xn_buf *out, const char *text)
{
	xn_buf_add_string(out, text);
}

static void begin_json(const struct event_text *event, struct xn_buf *out)
{
	literal(out, "{\"id\":\"");
	xn_buf_add_int(out, event->id);
	literal(out, "\",\"timestamp\":\"");
	xn_buf_add_int(out, event->time_s);
	literal(out, event->time_suffix);
	literal(out, "\",\"class\":\"");
	literal(out, xn_classes[event->class_id].event_name);
	literal(out, "\",\"operation\":\"");
	literal(out, operation_names[event->operation]);
	literal(out, "\",\"ref\":\"");
	literal(out, event->ref);
	xn_buf_add_char(out, '"');
	if (event->record)
		literal(out, ",\"snapshot\":");
}

void event_xml_name(struct xn_buf *out, const char *name)
{
	literal(out, "<member><name>");
	literal(out, name);
	literal(out, "</name>");
}

static void xml_member(struct xn_buf *out, const char *name, const char *value)
{
	event_xml_name(out, name);
	literal(out, "<value>");
	literal(out, value);
	literal(out, "</value></member>");
}

static void begin_xml(const struct event_text *event, struct xn_buf *out)
{
	char number[24];

	literal(out, "<value><struct>");
	snprintf(number, sizeof(number), "%" PRId64, event->id);
	xml_member(out, "id", number);
	snprintf(number, sizeof(number), "%" PRId64 "%s", event->time_s, event->time_suffix);
	xml_member(out, "timestamp", number);
	xml_member(out, "class", xn_classes[event->class_id].event_name);
	xml_member(out, "operation", operation_names[event->operation]);
	xml_member(out, "ref", event->ref);
	if (event->record)
		event_xml_name(out, "snapshot");
}

static void write_event(const struct event_text *event, enum xn_format format, bool with_record,
			struct xn_buf *out)
{
	if (format == XN_FORMAT_JSON)
		begin_json(event, out);
	else
		begin_xml(event, out);
	if (event->record && with_record)
		xn_record_write(event->record, format, out);
	if (format == XN_FORMAT_JSON)
		xn_buf_add_char(out, '}');
	else
		literal(out, event->record ? "</member></struct></value>" : "</struct></value>");
}

static size_t length_of(const struct event_text *event, enum xn_format format,
			struct xn_buf *scratch, size_t *encoded)
{
	size_t around;

	scratch->len = 0;
	write_event(event, format, false, scratch);
	around = scratch->len;
	return around + (event->record ? xn_record_length(event->record, format, encoded) : 0);
}

bool event_texts_write(const struct event_texts *texts, enum xn_format format, size_t *at,
		       struct xn_buf *out)
{
	size_t start = out->len;
	struct event_text event;

	for (; *at < texts->n && out->len - start < EVENT_BYTES_A_STEP; ++*at) {
		if (*at && format == XN_FORMAT_JSON)
			xn_buf_add_char(out, ',');
		texts->get(texts->from, *at, &event);
		write_event(&event, format, true, out);
	}
	return *at < texts->n;
}

bool event_texts_measure(const struct event_texts *texts, enum xn_format format,
			 struct event_measure *so_far)
{
	enum { EVENTS_A_STEP = 500 };
	struct xn_buf scratch XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t end = so_far->events + EVENTS_A_STEP, encoded = 0;
	struct event_text event;

	for (; so_far->events < texts->n && so_far->events < end && encoded < EVENT_BYTES_A_STEP;
	     so_far->events++) {
		if (so_far->events && format == XN_FORMAT_JSON)
			so_far->bytes++;
		texts->get(texts->from, so_far->events, &event);
		so_far->bytes += (int64_t)length_of(&event, format, &scratch, &encoded);
	}
	return so_far->events == texts->n;
}
