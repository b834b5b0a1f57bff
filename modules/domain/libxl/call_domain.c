/* Domains come, stop, go on and go. */
#include <errno.h>

#include "modules/domain/libxl/child.h"
#include "modules/domain/libxl/config.h"

int xn_libxl_domid(const struct xn_value *args, uint32_t *domid_out)
{
	int64_t domid = xn_map_get_int(args, "domid", -1);

	/* Never the control domain, whatever the caller got wrong. */
	if (domid <= 0 || domid >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	*domid_out = domid;
	return 0;
}

static bool exists(struct xn_libxl_child *child, uint32_t domid)
{
	return libxl_domain_info(child->ctx, NULL, domid) == 0;
}

/* ---- create ---- */

/* xc answers a lack of memory halfway through, and with many words: asked before. */
static int check_memory(struct xn_libxl_child *child, libxl_domain_config *config)
{
	uint64_t need_kib, free_kib;
	int rc = libxl_domain_need_memory(child->ctx, config, INVALID_DOMID, &need_kib);

	if (rc == 0)
		rc = libxl_get_free_memory(child->ctx, &free_kib);
	if (rc)
		return xn_libxl_rc(child, rc);
	return need_kib > free_kib ? -ENOMEM : 0;
}

/* create {config}: built and paused. libxl destroys what it could not finish. */
int xn_libxl_create(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		    struct xn_libxl_answer *answer)
{
	libxl_domain_config config;
	uint32_t domid = INVALID_DOMID;
	int rc;

	libxl_domain_config_init(&config);
	rc = xn_libxl_config_fill(child->ctx, xn_map_get(args, "config"), &config);
	if (rc == 0)
		rc = check_memory(child, &config);
	if (rc == 0)
		rc = xn_libxl_rc(child, libxl_domain_create_new(child->ctx, &config, &domid, NULL,
								NULL));
	if (rc == 0)
		answer->result = xn_int(domid);
	libxl_domain_config_dispose(&config);
	return rc;
}

/* ---- the calls with nothing but a domain ---- */

/* destroy {domid} */
int xn_libxl_destroy(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0)
		return rc;
	rc = libxl_domain_destroy(child->ctx, domid, NULL);
	return rc == ERROR_DOMAIN_NOTFOUND || !exists(child, domid) ? 0 : xn_libxl_rc(child, rc);
}

/* pause {domid} */
int xn_libxl_pause(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		   struct xn_libxl_answer *answer)
{
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0)
		return rc;
	return xn_libxl_rc(child, libxl_domain_pause(child->ctx, domid, NULL));
}

/* unpause {domid} */
int xn_libxl_unpause(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		     struct xn_libxl_answer *answer)
{
	uint32_t domid;
	int rc = xn_libxl_domid(args, &domid);

	if (rc < 0)
		return rc;
	return xn_libxl_rc(child, libxl_domain_unpause(child->ctx, domid, NULL));
}
