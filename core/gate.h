/*
 * A limit that many share: so many are inside at a time, of one object (a VM) so many of them. Who
 * finds no room waits, and takes turns with the others as fair.h says; so a place that gets free is
 * taken at once, and nobody takes all.
 */
#ifndef XN_GATE_H
#define XN_GATE_H

#include "core/fair.h"
#include "core/loop.h"

struct xn_gate;

struct xn_pass { /* embedded; all zero bytes = not in use */
	struct xn_fair_item item;
	struct xn_gate *gate;
	uint64_t object;
	bool inside;
	void (*enter)(struct xn_pass *pass);
};

struct xn_gate *xn_gate_new(struct xn_loop *loop, unsigned limit, unsigned limit_an_object);
/* Whoever waits is let in, and must be ready for it; then what is inside may still leave. */
void xn_gate_close(struct xn_gate *gate);
void xn_gate_free(struct xn_gate *gate); /* closed; nobody will leave any more; NULL is fine */

/* enter() is called once: inside when there is room, else later, from the loop. Return whether it
 * was called. */
bool xn_gate_ask(struct xn_gate *gate, struct xn_pass *pass, uint64_t caller, uint64_t object,
		 void (*enter)(struct xn_pass *pass));
void xn_gate_leave(struct xn_pass *pass); /* or withdraws; not in use: nothing */

unsigned xn_gate_limit(const struct xn_gate *gate);
unsigned xn_gate_inside(const struct xn_gate *gate);
unsigned xn_gate_waiting(const struct xn_gate *gate);
/* Grows with each that leaves: who waits can tell a long queue from a stuck one. */
uint64_t xn_gate_moves(const struct xn_gate *gate);

#endif
