/*
 * A link: the byte stream of one client of the xenstore, whatever carries it: a Unix socket
 * (socket.c) or the ring on a guest's shared page (ring.c). connection.c, above, knows only this.
 *
 * Positions count the bytes of a direction since the link began, modulo 2^32, as the indices of a
 * ring do. Input is taken in two steps, read and then taken(), so that a ring's consumer index moves
 * only when what was read is in the journal: after a crash the bytes are either still in the ring or
 * recorded, never both and never neither. Output goes to the journal before write().
 */
#ifndef XN_XENSTORE_LINK_H
#define XN_XENSTORE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct xn_xs_link;

struct xn_xs_link_ops {
	const char *name; /* "socket", "ring": for metrics and control commands */
	bool is_kept;     /* its connection outlives a crash of the daemon: a ring's does */
	/* Copies what has come since taken() last moved on, from @offset bytes after that: how many
	 * bytes (up to @len), 0: none more now, -errno: it is over. Of a link that is kept, read() and
	 * write() tell in this way what the guest did to its ring, and the link stays:
	 * -EPROTO: nonsense; it is silent until the guest begins anew. Drop what hangs on the connection.
	 * -ECONNRESET: it begins anew: drop what hangs on the connection (the unfinished request, what
	 * waits to go out, watches, transactions), record that, then call reset(). */
	ssize_t (*read)(struct xn_xs_link *link, size_t offset, void *room, size_t len);
	/* The first @len bytes that were read are done with. */
	void (*taken)(struct xn_xs_link *link, size_t len);
	/* How many bytes went out (0: full), or -errno. */
	ssize_t (*write)(struct xn_xs_link *link, const void *bytes, size_t len);
	/* Which of "something to read" and "room to write" shall call on_ready. Not reading is the
	 * back-pressure: a peer's bytes then stay in the socket or the ring. */
	void (*want)(struct xn_xs_link *link, bool input, bool output);
	/* Of a link that is kept, else NULL. Empties both directions: positions are 0, and the guest may
	 * begin. After -ECONNRESET, and when the domain is introduced again. */
	void (*reset)(struct xn_xs_link *link);
	/* Of a link that is kept, else NULL: what came is no request. Silent from now on, as after
	 * -EPROTO. */
	void (*refuse)(struct xn_xs_link *link);
	void (*close)(struct xn_xs_link *link); /* frees; nothing is called afterwards */
};

struct xn_xs_link {
	const struct xn_xs_link_ops *ops;
	/* From the loop; never from inside an op. Set by the connection. */
	void (*on_ready)(struct xn_xs_link *link, void *arg);
	void *arg;
	uint32_t in_at, out_at; /* positions: bytes taken, bytes written */
};

#endif
