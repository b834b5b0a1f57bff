/*
 * Failed logins: who has to wait before the next try, and since the last hourly alert how many. An
 * entry stands for one account from one address, so an attacker elsewhere keeps nobody out; the
 * names that one address tries share its last entry when they are many, so that it cannot push out
 * what others, or it, did wrong before. The Unix socket's trusted peers never come here.
 */
#include "modules/auth/auth_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	NAMES_AN_ADDRESS = 16,
	FIRST_WAIT_US = 1000000,
	FORGET_US = 900 * 1000000, /* after the last failure, when that is longer than the wait */
};

struct entry {
	char user[USER_MAX + 1]; /* "*": any other name from there */
	char address[AUTH_ADDRESS_MAX];
	unsigned count;
	int64_t last_us, until_us;
};

struct failures {
	unsigned max, n, free;
	int64_t longest_us;
	struct entry *entries;
};

void auth_failures_start(struct xn_auth *auth)
{
	struct xn_config *config = auth->core->config;
	struct failures *failures = xn_calloc(1, sizeof(*failures));

	failures->max = (unsigned)xn_config_int(config, "login-backoff-table");
	failures->free = (unsigned)xn_config_int(config, "login-free-failures");
	failures->longest_us = xn_config_int(config, "login-backoff") * 1000000;
	failures->entries = xn_calloc(failures->max, sizeof(*failures->entries));
	auth->failures = failures;
}

void auth_failures_stop(struct xn_auth *auth)
{
	if (auth->failures)
		free(auth->failures->entries);
	free(auth->failures);
	auth->failures = NULL;
}

unsigned auth_failures_count(const struct xn_auth *auth)
{
	return auth->failures->n;
}

void auth_failures_address(const char *origin, char out[AUTH_ADDRESS_MAX])
{
	const size_t size = AUTH_ADDRESS_MAX;
	const char *end = strrchr(origin, ':');
	struct in6_addr in6;
	char text[INET6_ADDRSTRLEN];

	if (*origin != '[' || !end || end - origin < 2) {
		snprintf(out, size, "%.*s", end ? (int)(end - origin) : (int)strlen(origin), origin);
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)(end - origin - 2), origin + 1);
	if (inet_pton(AF_INET6, text, &in6) == 1) {
		memset(in6.s6_addr + 8, 0, 8);
		inet_ntop(AF_INET6, &in6, text, sizeof(text));
	}
	snprintf(out, size, "%s/64", text);
}

static bool is_over(const struct entry *e, int64_t now)
{
	return e->until_us <= now && now - e->last_us > FORGET_US;
}

/* The entry of @user from @address, else the one for its other names, else NULL. */
static struct entry *find(struct failures *failures, const char *user, const char *address,
			  int64_t now, unsigned *names_out)
{
	struct entry *others = NULL;

	*names_out = 0;
	for (unsigned i = 0; i < failures->n; i++) {
		struct entry *e = &failures->entries[i];

		if (strcmp(e->address, address) != 0 || is_over(e, now))
			continue;
		if (strncmp(e->user, user, USER_MAX) == 0)
			return e;
		if (strcmp(e->user, "*") == 0)
			others = e;
		++*names_out;
	}
	return *names_out >= NAMES_AN_ADDRESS ? others : NULL;
}

/* A free place, or that of whoever has been quiet for longest; of those that do not wait, if any. */
static struct entry *make_room(struct failures *failures, int64_t now)
{
	struct entry *best = NULL;

	if (failures->n < failures->max)
		return &failures->entries[failures->n++];
	for (unsigned i = 0; i < failures->n; i++) {
		struct entry *e = &failures->entries[i];
		bool waits = e->until_us > now, best_waits = best && best->until_us > now;

		if (!best || (best_waits && !waits) ||
		    (best_waits == waits && e->last_us < best->last_us))
			best = e;
	}
	return best;
}

int64_t auth_failures_wait_us(struct xn_auth *auth, const char *user, const char *origin)
{
	int64_t now = xn_now_us(auth->core->loop);
	char address[AUTH_ADDRESS_MAX];
	struct entry *e;
	unsigned names;

	auth_failures_address(origin, address);
	e = find(auth->failures, user, address, now, &names);
	return e && e->until_us > now ? e->until_us - now : 0;
}

static void note(struct failures *failures, struct entry *e, int64_t now)
{
	int64_t wait_us = FIRST_WAIT_US;

	if (e->until_us > now)
		return; /* it has to wait already: who goes on trying does not wait longer */
	e->last_us = now;
	if (++e->count <= failures->free)
		return;
	for (unsigned i = failures->free + 1; i < e->count && wait_us < failures->longest_us; i++)
		wait_us *= 2;
	e->until_us = now + (wait_us < failures->longest_us ? wait_us : failures->longest_us);
}

void auth_failures_add(struct xn_auth *auth, const char *user, const char *origin)
{
	struct failures *failures = auth->failures;
	int64_t now = xn_now_us(auth->core->loop);
	char address[AUTH_ADDRESS_MAX];
	struct entry *e;
	unsigned names;

	auth_failures_address(origin, address);
	e = find(failures, user, address, now, &names);
	if (!e) {
		e = make_room(failures, now);
		*e = (struct entry){0};
		snprintf(e->user, sizeof(e->user), "%.*s", USER_MAX,
			 names >= NAMES_AN_ADDRESS - 1 ? "*" : user);
		snprintf(e->address, sizeof(e->address), "%s", address);
	}
	note(failures, e, now);
}

void auth_failures_forgive(struct xn_auth *auth, const char *user, const char *origin)
{
	struct failures *failures = auth->failures;
	char address[AUTH_ADDRESS_MAX];
	struct entry *e;
	unsigned names;

	auth_failures_address(origin, address);
	e = find(failures, user, address, xn_now_us(auth->core->loop), &names);
	if (e && strcmp(e->user, "*") != 0)
		*e = failures->entries[--failures->n];
}
