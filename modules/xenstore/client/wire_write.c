/*
 * A write to a foreign xenstored: start a transaction, make all changes pipelined in it, commit. One
 * change alone needs no transaction. Transactions queue: two of ours would only make each other
 * conflict. A commit that conflicts with somebody else's is made again, so often at most.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/client/wire_client.h"

enum { MAX_TRIES = 20 };

enum phase { STARTING, CHANGING, ENDING };

/* Outlives its request when that is forgotten, until its transaction is closed. */
struct writing {
	struct xn_list queue; /* in wire->writings when it has a transaction */
	struct xn_xs_wire *wire;
	struct xn_xs_request *request; /* NULL: forgotten */
	struct xn_xs_sender sender;
	enum phase phase;
	bool has_transaction; /* or will have */
	uint32_t transaction;
	unsigned tries, in_flight;
	size_t next; /* change to be sent; then its permissions */
	bool perms_next;
	int rc;
};

static void end(struct writing *writing, int rc)
{
	struct xn_xs_request *request = writing->request;
	struct xn_list *writings = &writing->wire->writings;

	xn_list_remove(&writing->sender.link);
	xn_list_remove(&writing->queue);
	if (writing->has_transaction && !xn_list_empty(writings))
		xn_xs_wire_want(writing->wire,
				&xn_list_entry(writings->next, struct writing, queue)->sender);
	free(writing);
	if (request)
		xn_xs_request_end(request, rc, NULL);
}

/* ---- the commit ---- */

static void begin_again(struct writing *writing)
{
	writing->phase = STARTING;
	writing->next = 0;
	writing->perms_next = false;
	xn_xs_wire_want(writing->wire, &writing->sender);
}

static void on_ended(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct writing *writing = arg;

	if (rc == -EAGAIN && !writing->rc && writing->request && ++writing->tries < MAX_TRIES)
		begin_again(writing);
	else
		end(writing, writing->rc ? writing->rc : rc);
}

static bool send_end(struct writing *writing)
{
	struct xn_xs_part verdict = {writing->rc || !writing->request ? "F" : "T", 2};

	(void)xn_xs_wire_call(writing->wire, XN_XS_WIRE_TRANSACTION_END, writing->transaction,
			      &verdict, 1, on_ended, writing);
	return false;
}

/* ---- the changes ---- */

static void changed(struct writing *writing)
{
	bool has_more = !writing->rc && writing->request &&
			writing->next < writing->request->n;

	if (writing->in_flight || has_more)
		return;
	if (!writing->has_transaction) {
		end(writing, writing->rc);
		return;
	}
	writing->phase = ENDING;
	xn_xs_wire_want(writing->wire, &writing->sender);
}

static void on_changed(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct writing *writing = arg;

	writing->in_flight--;
	if (rc < 0 && !writing->rc)
		writing->rc = rc;
	changed(writing);
}

static void on_removed(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	on_changed(wire, rc == -ENOENT ? 0 : rc, reply, arg);
}

/* "n0 r5" -> strings one behind the other. */
static int call_perms(struct writing *writing, const struct xn_xs_write *write)
{
	char *text = xn_strdup(write->perms);
	struct xn_xs_part parts[] = {{write->path, strlen(write->path) + 1},
				     {text, strlen(text) + 1}};
	int rc;

	for (char *c = text; *c; c++)
		if (*c == ' ')
			*c = '\0';
	rc = xn_xs_wire_call(writing->wire, XN_XS_WIRE_SET_PERMS, writing->transaction, parts, 2,
			     on_changed, writing);
	free(text);
	return rc;
}

static int call_change(struct writing *writing, const struct xn_xs_write *write)
{
	struct xn_xs_part parts[] = {{write->path, strlen(write->path) + 1},
				     {write->value, write->value ? strlen(write->value) : 0}};

	if (!write->value)
		return xn_xs_wire_call(writing->wire, XN_XS_WIRE_RM, writing->transaction, parts, 1,
				       on_removed, writing);
	return xn_xs_wire_call(writing->wire, XN_XS_WIRE_WRITE, writing->transaction, parts, 2,
			       on_changed, writing);
}

static bool send_change(struct writing *writing)
{
	const struct xn_xs_write *write;
	int rc;

	if (writing->rc || !writing->request || writing->next >= writing->request->n) {
		changed(writing);
		return false;
	}
	write = &writing->request->writes[writing->next];
	rc = writing->perms_next ? call_perms(writing, write) : call_change(writing, write);
	if (rc < 0)
		writing->rc = rc;
	else
		writing->in_flight++;
	if (!writing->perms_next && write->value && write->perms) {
		writing->perms_next = true;
	} else {
		writing->perms_next = false;
		writing->next++;
	}
	return true;
}

/* ---- the start ---- */

static void on_started(struct xn_xs_wire *wire, int rc, const struct xn_xs_frame *reply, void *arg)
{
	struct writing *writing = arg;
	const char *text;
	char number[16] = "";
	size_t at = 0, len;

	if (rc < 0) {
		end(writing, rc);
		return;
	}
	text = xn_xs_frame_string(reply, &at, &len);
	if (text && len < sizeof(number))
		memcpy(number, text, len);
	writing->transaction = (uint32_t)strtoul(number, NULL, 10);
	if (!writing->transaction) {
		end(writing, -EIO);
		return;
	}
	writing->phase = CHANGING;
	xn_xs_wire_want(wire, &writing->sender);
}

static bool send_start(struct writing *writing)
{
	struct xn_xs_part nothing = {"", 1};

	(void)xn_xs_wire_call(writing->wire, XN_XS_WIRE_TRANSACTION_START, 0, &nothing, 1,
			      on_started, writing);
	return false;
}

static bool send_next(struct xn_xs_sender *sender)
{
	struct writing *writing = xn_container_of(sender, struct writing, sender);

	switch (writing->phase) {
	case STARTING:
		if (!writing->request) {
			end(writing, 0);
			return false;
		}
		return send_start(writing);
	case CHANGING:
		return send_change(writing);
	case ENDING:
		return send_end(writing);
	}
	return false;
}

static void fail(struct xn_xs_sender *sender)
{
	end(xn_container_of(sender, struct writing, sender), -EIO);
}

/* ---- the request ---- */

void xn_xs_wire_write(struct xn_xs_wire *wire, struct xn_xs_request *request)
{
	struct writing *writing = xn_calloc(1, sizeof(*writing));

	request->work = writing;
	writing->wire = wire;
	writing->request = request;
	writing->has_transaction = request->n > 1 || (request->n && request->writes[0].perms);
	writing->phase = writing->has_transaction ? STARTING : CHANGING;
	writing->sender =
		(struct xn_xs_sender){.send = send_next, .fail = fail, .is_urgent = true};
	xn_list_init(&writing->sender.link);
	xn_list_init(&writing->queue);
	if (writing->has_transaction)
		xn_list_push(&wire->writings, &writing->queue);
	if (!writing->has_transaction ||
	    wire->writings.next == &writing->queue)
		xn_xs_wire_want(wire, &writing->sender);
}

void xn_xs_wire_write_forget(struct xn_xs_request *request)
{
	struct writing *writing = request->work;

	writing->request = NULL;
}
