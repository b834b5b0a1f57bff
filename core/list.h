/* Intrusive doubly linked list with a sentinel head. */
#ifndef XN_LIST_H
#define XN_LIST_H

#include "core/base.h"

struct xn_list {
	struct xn_list *next, *prev;
};

static inline void xn_list_init(struct xn_list *head)
{
	head->next = head->prev = head;
}

static inline bool xn_list_empty(const struct xn_list *head)
{
	return head->next == head;
}

static inline void xn_list_insert(struct xn_list *at, struct xn_list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

/* Appends @node at the tail of @head. */
static inline void xn_list_push(struct xn_list *head, struct xn_list *node)
{
	xn_list_insert(head, node);
}

/* Leaves @node as an empty list, so removing twice is harmless. */
static inline void xn_list_remove(struct xn_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	xn_list_init(node);
}

static inline struct xn_list *xn_list_pop(struct xn_list *head)
{
	struct xn_list *first = head->next;

	if (first == head)
		return NULL;
	xn_list_remove(first);
	return first;
}

#define xn_list_entry(node, type, member) xn_container_of(node, type, member)

#define xn_list_each(node, head) \
	for (struct xn_list *node = (head)->next; node != (head); node = node->next)

/* The loop's body may remove @node. */
#define xn_list_each_safe(node, head)                                                    \
	for (struct xn_list *node = (head)->next, *node##_next = node->next; \
	     node != (head); node = node##_next, node##_next = node->next)

#endif
