/* The server's certificate: files, row, API; see tls_certificate.h. */
#include "rpc/tls_certificate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/write.h"
#include "rpc/tls_identity.h"

enum source { CONFIGURED, INSTALLED, OWN };

struct xn_certificate {
	struct xn_rpc *rpc;
	struct xn_pool *worker;
	char *configured, *configured_key; /* or NULL */
	char *installed, *own;		   /* paths */
	struct xn_tls_names names;
	struct xn_tls_identity *identity; /* in use; NULL: none yet */
};

struct job {
	struct xn_work work;
	struct xn_certificate *certificate;
	struct xn_call *call; /* waits for it; NULL: nobody */
	void (*act)(struct job *job);
	struct xn_tls_names names;
	char *texts[3]; /* to install: certificate, key, chain */
	int64_t now_s;
	uint8_t seeds[2][XN_TLS_SEED];
	struct xn_tls_identity *identity; /* the result, or err */
	struct xn_error err;
};

/* ---- files; in the worker, or at the start ---- */

/* A small text file, terminated; NULL with errno. */
static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *text = NULL;
	size_t len = 0;
	struct stat st;
	ssize_t n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		text = xn_malloc(XN_TLS_PEM_MAX + 1);
		while (len < XN_TLS_PEM_MAX &&
		       ((n = read(fd, text + len, XN_TLS_PEM_MAX - len)) > 0 ||
			(n < 0 && errno == EINTR)))
			len += n > 0 ? (size_t)n : 0;
		if (n > 0)
			errno = EFBIG;
	}
	if (fd >= 0)
		close(fd);
	if (n != 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

static int sync_folder_of(const char *path)
{
	char *folder = xn_strdup(path);
	int fd, rc;

	*strrchr(folder, '/') = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	free(folder);
	return rc;
}

/* Whole or not at all, for nobody's eyes but ours. */
static int replace_file(const char *path, const char *data, size_t len)
{
	char *fresh = xn_asprintf("%s.new", path);
	int fd, rc;

	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = fd < 0 ? -errno : xn_write_synced(fd, data, len);
	if (fd >= 0)
		close(fd);
	if (rc == 0 && rename(fresh, path) < 0)
		rc = -errno;
	if (rc == 0)
		rc = sync_folder_of(path);
	else
		unlink(fresh);
	free(fresh);
	return rc;
}

static int remove_file(const char *path)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : -errno;
	return sync_folder_of(path);
}

static void save(struct job *job, const char *path, const char *data, size_t len)
{
	int rc = replace_file(path, data, len);

	if (rc == 0)
		return;
	xn_error_from_errno(&job->err, rc, "the certificate cannot be saved");
	if (!job->call) /* nobody was promised that it stays: better this one than no HTTPS */
		return;
	xn_tls_identity_unref(job->identity);
	job->identity = NULL;
}

/* ---- what a job does; in the worker, or at the start ---- */

static void parse(struct job *job, const char *certificate, const char *key, const char *chain,
		  int64_t now_s)
{
	struct xn_tls_pem pem = {certificate, key, chain};

	job->identity = xn_tls_identity_parse(&pem, now_s, job->seeds[1], &job->err);
}

static void make_own(struct job *job)
{
	struct xn_certificate *c = job->certificate;
	struct xn_buf pem XN_CLEANUP(xn_buf_clear_p) = {0};
	int rc = xn_tls_identity_make(&job->names, job->now_s, job->seeds[0], &pem);

	if (rc < 0) {
		xn_error_from_errno(&job->err, rc, "no key could be made");
		return;
	}
	parse(job, xn_buf_cstr(&pem), xn_buf_cstr(&pem), NULL, -1);
	if (job->identity)
		save(job, c->own, pem.data, pem.len);
	explicit_bzero(pem.data, pem.len);
}

static void make_own_and_forget(struct job *job)
{
	int rc;

	make_own(job);
	if (!job->identity)
		return;
	rc = remove_file(job->certificate->installed);
	if (rc < 0) {
		xn_error_from_errno(&job->err, rc, "the installed certificate cannot be removed");
		xn_tls_identity_unref(job->identity);
		job->identity = NULL;
	}
}

static void install(struct job *job)
{
	struct xn_buf all XN_CLEANUP(xn_buf_clear_p) = {0};

	parse(job, job->texts[0], job->texts[1], job->texts[2], job->now_s);
	if (!job->identity)
		return;
	for (int i = 0; i < 3; i++) {
		static const int order[] = {1, 0, 2};

		xn_buf_add_string(&all, job->texts[order[i]]);
		xn_buf_add_char(&all, '\n');
	}
	save(job, job->certificate->installed, all.data, all.len);
	explicit_bzero(all.data, all.len);
}

static void free_secret(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void load_configured(struct job *job, int64_t now_s)
{
	struct xn_certificate *c = job->certificate;
	const char *key_path = c->configured_key ? c->configured_key : c->configured;
	char *certificate = read_file(c->configured);
	char *key = certificate ? read_file(key_path) : NULL;

	if (!key)
		xn_error_setf(&job->err, XN_ERR_INTERNAL_ERROR, "%s: %s",
			      certificate ? key_path : c->configured, strerror(errno));
	else
		parse(job, certificate, key, NULL, now_s);
	free(certificate);
	free_secret(key);
}

/* One of our own files. False: it is not there. */
static bool load_saved(struct job *job, const char *path)
{
	char *text = read_file(path);

	if (!text && errno == ENOENT)
		return false;
	if (text)
		parse(job, text, text, NULL, -1);
	else
		xn_error_setf(&job->err, XN_ERR_INTERNAL_ERROR, "%s: %s", path, strerror(errno));
	free_secret(text);
	return true;
}

static bool load_any_saved(struct job *job)
{
	return load_saved(job, job->certificate->installed) || load_saved(job, job->certificate->own);
}

static void load_again(struct job *job)
{
	if (job->certificate->configured)
		load_configured(job, job->now_s);
	else if (!load_any_saved(job))
		make_own(job);
}

/* What is ours is made anew; what somebody else gave us is read again. */
static void refresh(struct job *job)
{
	struct xn_certificate *c = job->certificate;

	if (c->configured)
		load_configured(job, job->now_s);
	else if (!load_saved(job, c->installed))
		make_own(job);
}

/* ---- the row ---- */

/* This host's row; rpc knows no more of hosts. */
static struct xn_row *host_row(struct xn_certificate *c)
{
	return xn_db_first(c->rpc->db, XN_CLASS_host);
}

static struct xn_row *find_row(struct xn_certificate *c)
{
	struct xn_row *row = xn_db_first(c->rpc->db, XN_CLASS_Certificate);

	while (row && (strcmp(xn_row_string(row, XN_Certificate_type), "host") != 0 ||
		       xn_row_follow(c->rpc->db, row, XN_Certificate_host) != host_row(c)))
		row = xn_db_next(c->rpc->db, row);
	return row;
}

void xn_certificate_tell(struct xn_certificate *c)
{
	const struct xn_tls_facts *facts = c->identity ? xn_tls_identity_facts(c->identity) : NULL;
	struct xn_value *fields;
	struct xn_row *host = host_row(c), *row = find_row(c);

	if (!facts || !host || xn_db_writable(c->rpc->db) < 0 ||
	    (row &&
	     strcmp(xn_row_string(row, XN_Certificate_fingerprint_sha256), facts->sha256) == 0))
		return;
	if (row)
		xn_db_delete(c->rpc->db, row);
	fields = xn_map_new();
	xn_map_put(&fields, "type", xn_string("host"));
	xn_map_put(&fields, "host", xn_string(xn_row_ref(host)));
	xn_map_put(&fields, "not_before", xn_datetime(facts->not_before_s));
	xn_map_put(&fields, "not_after", xn_datetime(facts->not_after_s));
	xn_map_put(&fields, "fingerprint", xn_string(facts->sha256));
	xn_map_put(&fields, "fingerprint_sha256", xn_string(facts->sha256));
	xn_map_put(&fields, "fingerprint_sha1", xn_string(facts->sha1));
	xn_db_create(c->rpc->db, XN_CLASS_Certificate, NULL, fields);
	xn_value_unref(fields);
}

/* Takes @identity. */
static void use(struct xn_certificate *c, struct xn_tls_identity *identity)
{
	struct xn_loop *loop = c->rpc->core->loop;
	const struct xn_tls_facts *facts = xn_tls_identity_facts(identity);

	xn_tls_identity_unref(c->identity);
	c->identity = identity;
	xn_http_use_identity(c->rpc->http, xn_tls_identity_ref(identity));
	xn_certificate_tell(c);
	xn_log_info(c->rpc->core->log, "rpc", "HTTPS shows the certificate %.29s...", facts->sha256);
	if (facts->not_after_s < xn_wall_s(loop))
		xn_log_warn(c->rpc->core->log, "rpc", "the certificate of HTTPS has expired");
}

/* ---- jobs ---- */

static struct job *job_new(struct xn_certificate *c, void (*act)(struct job *job))
{
	struct job *job = xn_calloc(1, sizeof(*job));

	job->certificate = c;
	job->act = act;
	job->names = c->names;
	job->now_s = xn_wall_s(c->rpc->core->loop);
	xn_random_bytes(c->rpc->core->loop, job->seeds, sizeof(job->seeds));
	return job;
}

static void job_free(struct job *job)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(job->texts); i++)
		free_secret(job->texts[i]);
	explicit_bzero(job->seeds, sizeof(job->seeds));
	xn_tls_identity_unref(job->identity);
	xn_error_clear(&job->err);
	free(job);
}

static void print_error(const struct xn_error *err, struct xn_buf *out)
{
	xn_buf_add_string(out, err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		xn_buf_printf(out, " %s", err->params[i]);
}

static void log_failure(struct xn_certificate *c, const char *what, const struct xn_error *err)
{
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	print_error(err, &why);
	xn_log_warn(c->rpc->core->log, "rpc", "%s: %s", what, xn_buf_cstr(&why));
}

static int run_job(struct xn_work *work)
{
	struct job *job = xn_container_of(work, struct job, work);

	job->act(job);
	return 0;
}

static void on_job_done(struct xn_work *work, int rc)
{
	struct job *job = xn_container_of(work, struct job, work);
	struct xn_call *call = job->call;

	if (rc < 0)
		xn_error_from_errno(&job->err, rc, "the certificate is not changed");
	if (job->err.code)
		log_failure(job->certificate,
			    job->identity ? "the certificate is good until the daemon ends"
					  : "the certificate is not changed",
			    &job->err);
	if (job->identity)
		use(job->certificate, job->identity);
	job->identity = NULL;
	if (call && job->err.code)
		xn_call_fail(call, &job->err);
	else if (call)
		xn_call_reply_void(call);
	job_free(job);
}

static void submit(struct job *job)
{
	job->work.run = run_job;
	job->work.done = on_job_done;
	xn_pool_submit(job->certificate->worker, &job->work);
}

/* ---- names for one of our own ---- */

static void read_host_name(struct xn_tls_names *names)
{
	char name[sizeof(names->host)] = "";

	gethostname(name, sizeof(name) - 1);
	for (char *at = name; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr("-._", *at))
			*at = '-';
	snprintf(names->host, sizeof(names->host), "%s", *name ? name : "localhost");
}

static void add_address(struct xn_tls_names *names, int family, const void *bytes)
{
	struct xn_tls_address *to = &names->addresses[names->n_addresses];

	if (names->n_addresses == XN_ARRAY_SIZE(names->addresses))
		return;
	to->len = family == AF_INET ? 4 : 16;
	memcpy(to->bytes, bytes, to->len);
	names->n_addresses++;
}

static void read_names(struct xn_tls_names *names)
{
	struct ifaddrs *all = NULL;

	read_host_name(names);
	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		const struct sockaddr_in *in4 = (const void *)i->ifa_addr;
		const struct sockaddr_in6 *in6 = (const void *)i->ifa_addr;

		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
			add_address(names, AF_INET, &in4->sin_addr);
		else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6 &&
			 !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
			add_address(names, AF_INET6, &in6->sin6_addr);
	}
	freeifaddrs(all);
}

/* ---- life ---- */

static char *copy_setting(const struct xn_config *config, const char *name)
{
	const char *value = xn_config_string(config, name);

	return value ? xn_strdup(value) : NULL;
}

struct xn_certificate *xn_certificate_new(struct xn_rpc *rpc)
{
	struct xn_certificate *c = xn_calloc(1, sizeof(*c));
	const char *folder = xn_config_string(rpc->core->config, "state-dir");

	c->rpc = rpc;
	c->worker = xn_pool_new(rpc->core->loop, "certificate", 1);
	c->configured = copy_setting(rpc->core->config, "tls-certificate");
	c->configured_key = copy_setting(rpc->core->config, "tls-key");
	c->installed = xn_asprintf("%s/tls-installed.pem", folder);
	c->own = xn_asprintf("%s/tls-own.pem", folder);
	read_names(&c->names);
	return c;
}

void xn_certificate_free(struct xn_certificate *c)
{
	if (!c)
		return;
	xn_pool_free(c->worker);
	xn_tls_identity_unref(c->identity);
	free(c->configured);
	free(c->configured_key);
	free(c->installed);
	free(c->own);
	free(c);
}

int xn_certificate_start(struct xn_certificate *c, bool is_served, struct xn_error *err)
{
	struct job *job = job_new(c, make_own);

	/* Small files, read before anything is served; dates are looked at when it is changed. */
	if (c->configured)
		load_configured(job, -1);
	else
		load_any_saved(job);
	if (job->identity) {
		use(c, job->identity);
		job->identity = NULL;
	} else if (c->configured) {
		struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

		print_error(&job->err, &why);
		xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "tls-certificate: %s", xn_buf_cstr(&why));
		job_free(job);
		return -1;
	} else {
		if (job->err.code)
			log_failure(c, "the saved certificate is no good", &job->err);
		xn_error_clear(&job->err);
		if (is_served) {
			submit(job);
			return 0;
		}
	}
	job_free(job);
	return 0;
}

void xn_certificate_reload(struct xn_certificate *c)
{
	submit(job_new(c, load_again));
}

/* ---- API ---- */

static struct xn_certificate *certificate_of(struct xn_call *call)
{
	struct xn_rpc *rpc = call->state;

	return rpc->certificate;
}

static int need_files(struct xn_call *call, struct xn_error *err)
{
	if (!certificate_of(call))
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "this daemon serves no HTTPS");
	return 0;
}

static int check_host(struct xn_call *call, struct xn_error *err)
{
	struct xn_rpc *rpc = call->state;

	if (!xn_db_need(rpc->db, XN_CLASS_host, xn_call_string(call, 0), err))
		return -1;
	return need_files(call, err);
}

/* A file that the configuration names is changed there, not behind its back. */
static int check_not_configured(struct xn_call *call, struct xn_error *err)
{
	if (!certificate_of(call)->configured)
		return 0;
	return xn_error_set(err, XN_ERR_OPERATION_NOT_ALLOWED,
			    "the configuration names the certificate: tls-certificate");
}

static int check_change(struct xn_call *call, struct xn_error *err)
{
	return check_host(call, err) < 0 ? -1 : check_not_configured(call, err);
}

static int check_emergency(struct xn_call *call, struct xn_error *err)
{
	return need_files(call, err) < 0 ? -1 : check_not_configured(call, err);
}

static int check_install(struct xn_call *call, struct xn_error *err)
{
	static const struct {
		unsigned arg;
		const char *code;
	} texts[] = {
		{2, XN_ERR_SERVER_CERTIFICATE_KEY_INVALID},
		{1, XN_ERR_SERVER_CERTIFICATE_INVALID},
		{3, XN_ERR_SERVER_CERTIFICATE_CHAIN_INVALID},
	};

	if (check_change(call, err) < 0)
		return -1;
	for (size_t i = 0; i < XN_ARRAY_SIZE(texts); i++)
		if (strlen(xn_call_string(call, texts[i].arg)) > XN_TLS_PEM_MAX / 4)
			return xn_error_set(err, texts[i].code);
	return 0;
}

static int check_get(struct xn_call *call, struct xn_error *err)
{
	if (check_host(call, err) < 0)
		return -1;
	if (!certificate_of(call)->identity)
		return xn_error_set(err, XN_ERR_CERTIFICATE_DOES_NOT_EXIST, "host");
	return 0;
}

static void run_get(struct xn_call *call)
{
	struct xn_buf pem XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_tls_identity_pem(certificate_of(call)->identity, &pem);
	xn_call_reply(call, xn_string_len(pem.data, pem.len));
}

static void run_install(struct xn_call *call)
{
	struct job *job = job_new(certificate_of(call), install);

	job->call = call;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(job->texts); i++)
		job->texts[i] = xn_strdup(xn_call_string(call, i + 1));
	submit(job);
}

static void run_reset(struct xn_call *call)
{
	struct job *job = job_new(certificate_of(call), make_own_and_forget);

	job->call = call;
	submit(job);
}

static void run_refresh(struct xn_call *call)
{
	struct job *job = job_new(certificate_of(call), refresh);

	job->call = call;
	submit(job);
}

const struct xn_method_impl xn_certificate_methods[] = {
	{"host.get_server_certificate", run_get, check_get},
	{"host.install_server_certificate", run_install, check_install},
	{"host.reset_server_certificate", run_reset, check_change},
	{"host.emergency_reset_server_certificate", run_reset, check_emergency},
	{"host.refresh_server_certificate", run_refresh, check_host},
	{NULL},
};
