/* The configuration table and its values; see config.h. */
#include "core/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What changes all the time and says little. */
#define HISTORY_SKIP                                                                               \
	"session.last_active,task.progress,task.other_config,host_metrics.last_updated,"           \
	"host_metrics.memory_free,host_cpu.utilisation,VM_metrics.last_updated,"                   \
	"VM_metrics.VCPUs_utilisation,VM_guest_metrics.last_updated,VM_guest_metrics.memory,"      \
	"PIF_metrics.io_read_kbs,PIF_metrics.io_write_kbs,PIF_metrics.last_updated,"            \
	"VBD_metrics.*,VIF_metrics.*"

/* One row a key. Modules read their keys in init or start, by name. */
const struct xn_config_key xn_config_keys[] = {
	{"state-dir", XN_CONFIG_STRING, "/var/lib/xenolith", .argument = "DIR",
	 .doc = "where everything that must survive is kept"},
	{"hypervisor", XN_CONFIG_CHOICE, "auto", .choices = "sim|xen|auto", .argument = "NAME",
	 .doc = "what runs the domains; auto: Xen on a control domain, else the simulator"},
	{"libxl-workers", XN_CONFIG_INT, "4", .min = 2, .max = 64, .argument = "N",
	 .doc = "processes that make libxl calls at a time"},
	{"pygrub", XN_CONFIG_BOOL, "false", .argument = "BOOL",
	 .doc = "let PV guests boot through pygrub, which reads their disks on the host"},
	{"boot-folders", XN_CONFIG_STRING, "/var/lib/xcp/guest:/usr/lib", .argument = "DIRS",
	 .doc = "where the kernels and ramdisks are that VMs may name"},
	{"sim-memory", XN_CONFIG_SIZE, .min = 1 << 30, .max = INT64_C(1) << 50, .argument = "SIZE",
	 .doc = "memory of the simulated host; otherwise as much as this machine has"},
	{"xenstore", XN_CONFIG_CHOICE, "auto", .choices = "auto|embedded|system",
	 .argument = "NAME",
	 .doc = "our own xenstore or the host's xenstored; auto: the host's with Xen"},
	{"http", XN_CONFIG_ADDRESS, .argument = "ADDR:PORT", .doc = "serve plain HTTP there"},
	{"https", XN_CONFIG_ADDRESS, .argument = "ADDR:PORT", .doc = "serve HTTPS there"},
	{"tls-certificate", XN_CONFIG_STRING, .argument = "FILE",
	 .doc = "PEM: the certificate of HTTPS with its chain; otherwise one is made"},
	{"tls-key", XN_CONFIG_STRING, .argument = "FILE",
	 .doc = "PEM: its private key; otherwise in the file of the certificate"},
	{"socket", XN_CONFIG_STRING, .argument = "PATH", .doc = "serve HTTP on this Unix socket"},
	{"xenstore-socket", XN_CONFIG_STRING, .argument = "PATH",
	 .doc = "serve the xenstore protocol on this Unix socket"},
	{"xenstore-dir", XN_CONFIG_STRING, .argument = "DIR",
	 .doc = "where the embedded xenstore survives a crash; otherwise STATE/xenstore"},
	{"xenstore-history-size", XN_CONFIG_SIZE, "64M", .min = 0, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "room for what the xenstore was and how it changed; 0: none is kept"},
	{"xenstore-rings", XN_CONFIG_STRING, .argument = "DIR",
	 .doc = "rings of programs that play guests of the simulated hypervisor"},
	{"xenstore-connections", XN_CONFIG_INT, "4096", .min = 1, .max = 1000000,
	 .argument = "N", .doc = "connections at a time to the xenstore's socket"},
	/* What a domain but domain 0 may have in the xenstore; 0: as much as it likes. */
	{"xenstore-quota-nodes", XN_CONFIG_INT, "8192", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "nodes that a domain owns"},
	{"xenstore-quota-soft-nodes", XN_CONFIG_INT, "6553", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "nodes that a domain owns: beyond, a warning"},
	{"xenstore-quota-node-size", XN_CONFIG_SIZE, "2048", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of a domain's node: value, 8 for each permission"},
	{"xenstore-quota-node-permissions", XN_CONFIG_INT, "5", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "permissions of a domain's node"},
	{"xenstore-quota-path-max", XN_CONFIG_SIZE, "2048", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of a domain's path, without /local/domain/DOMID/"},
	{"xenstore-quota-watches", XN_CONFIG_INT, "128", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "watches of a domain"},
	{"xenstore-quota-soft-watches", XN_CONFIG_INT, "100", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "watches of a domain: beyond, a warning"},
	{"xenstore-quota-transactions", XN_CONFIG_INT, "10", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "open transactions of a domain"},
	{"xenstore-quota-transaction-nodes", XN_CONFIG_INT, "1024", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "requests that a domain's transaction remembers"},
	{"xenstore-quota-memory", XN_CONFIG_SIZE, "2560K", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of a domain's nodes, watches and transactions"},
	{"xenstore-quota-soft-memory", XN_CONFIG_SIZE, "2M", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of a domain's nodes, watches and transactions: beyond, a warning"},
	{"xenstore-quota-events", XN_CONFIG_INT, "1024", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "watch events that a domain has not read"},
	{"xenstore-quota-soft-events", XN_CONFIG_INT, "512", .min = 0, .max = 100000000,
	 .argument = "N", .doc = "watch events that a domain has not read: beyond, a warning"},
	{"xenstore-quota-event-bytes", XN_CONFIG_SIZE, "256K", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of them"},
	{"xenstore-quota-soft-event-bytes", XN_CONFIG_SIZE, "128K", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of them: beyond, a warning"},
	{"xenstore-quota-buffers", XN_CONFIG_SIZE, "64K", .min = 0, .max = 1 << 30,
	 .argument = "SIZE", .doc = "bytes of a domain's requests and replies on their way"},
	{"password-file", XN_CONFIG_STRING, .argument = "FILE",
	 .doc = "holds one line: the password of the login root"},
	{"call-values", XN_CONFIG_INT, "16384", .min = 256, .max = 1000000, .argument = "N",
	 .doc = "numbers, texts, sets, maps and their members in one call"},
	{"call-depth", XN_CONFIG_INT, "64", .min = 4, .max = 64, .argument = "N",
	 .doc = "how deep sets and maps of a call may be nested"},
	{"pam", XN_CONFIG_CHOICE, "auto", .choices = "auto|on|off", .argument = "WHEN",
	 .doc = "check passwords with PAM, too; auto: when the service is set up there"},
	{"pam-service", XN_CONFIG_STRING, "xapi", .argument = "NAME",
	 .doc = "the service whose rules PAM follows"},
	{"pam-folder", XN_CONFIG_STRING, .argument = "DIR",
	 .doc = "where PAM reads that service's rules; otherwise where the system has them"},
	{"pam-users", XN_CONFIG_STRING, "root", .argument = "NAMES",
	 .doc = "accounts, and groups with @ before them, that log in as superuser through PAM"},
	{"pam-timeout", XN_CONFIG_INT, "30", .min = 1, .max = 600,
	 .unit = "seconds", .argument = "SECONDS",
	 .doc = "how long PAM may take for one login"},
	{"pam-workers", XN_CONFIG_INT, "8", .min = 2, .max = 64, .argument = "N",
	 .doc = "logins that PAM checks at a time; of one account a quarter of them"},
	{"login-queue", XN_CONFIG_INT, "2000", .min = 1, .max = 100000, .argument = "N",
	 .doc = "logins that are being checked or wait for that, half of the free places for one address"},
	{"login-free-failures", XN_CONFIG_INT, "5", .min = 1, .max = 1000, .argument = "N",
	 .doc = "failed logins of an account from one address before the next has to wait"},
	{"login-backoff", XN_CONFIG_INT, "30", .min = 1, .max = 86400,
	 .unit = "seconds", .argument = "SECONDS",
	 .doc = "longest wait after failed logins; it begins with 1 second and doubles"},
	{"login-backoff-table", XN_CONFIG_INT, "1024", .min = 16, .max = 65536, .argument = "N",
	 .doc = "accounts and addresses with failed logins that are remembered"},
	{"session-idle", XN_CONFIG_INT, "86400", .min = 60, .max = 31536000,
	 .unit = "seconds", .argument = "SECONDS",
	 .doc = "a session that was not used for so long ends"},
	{"sessions-anonymous", XN_CONFIG_INT, "400", .min = 1, .max = 100000, .argument = "N",
	 .doc = "sessions of root that name no originator; beyond, the oldest end"},
	{"sessions-per-originator", XN_CONFIG_INT, "500", .min = 1, .max = 100000,
	 .argument = "N", .doc = "sessions of root that one originator holds"},
	{"sessions-per-user", XN_CONFIG_INT, "500", .min = 1, .max = 100000, .argument = "N",
	 .doc = "sessions that any other account holds"},
	{"sessions-pool", XN_CONFIG_INT, "400", .min = 1, .max = 100000, .argument = "N",
	 .doc = "sessions that hosts of the pool hold"},
	{"sessions", XN_CONFIG_INT, "5000", .min = 1, .max = 10000, .argument = "N",
	 .doc = "sessions of all together; beyond, those that were not used for longest end"},
	{"sessions-local", XN_CONFIG_INT, "64", .min = 1, .max = 1000, .argument = "N",
	 .doc = "emergency sessions with this host alone"},
	{"plug-width", XN_CONFIG_INT, "10", .min = 1, .max = 255, .argument = "N",
	 .doc = "devices of one VM that are plugged at a time"},
	{"plug-limit", XN_CONFIG_INT, "40", .min = 1, .max = 100000, .argument = "N",
	 .doc = "devices that are plugged at a time on the whole host"},
	{"audit-size", XN_CONFIG_SIZE, "256M", .min = 1 << 17, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "what the audit log may take; then its oldest files go"},
	{"audit-file-size", XN_CONFIG_SIZE, "16M", .min = 1 << 16, .max = INT64_C(1) << 30,
	 .argument = "SIZE", .doc = "a file of the audit log, before the next one is begun"},
	{"audit-keep-days", XN_CONFIG_INT, "366", .min = 0, .max = 36500, .unit = "days",
	 .argument = "N", .doc = "days after which files of the audit log go; 0: only their size counts"},
	{"metrics-token-file", XN_CONFIG_STRING, .argument = "FILE",
	 .doc = "holds one line: the bearer token for /metrics over TCP; otherwise one is made, "
		"metrics-token in the state folder"},
	{"history-size", XN_CONFIG_SIZE, "64M", .max = INT64_C(1) << 40, .argument = "SIZE",
	 .doc = "room for the database's history, at least for two images of it; 0: none is kept"},
	{"history-age", XN_CONFIG_INT, "90", .min = 1, .max = 36500, .unit = "days",
	 .argument = "DAYS", .doc = "how long history is kept"},
	{"history-skip", XN_CONFIG_STRING, HISTORY_SKIP, .argument = "FIELDS",
	 .doc = "what history leaves out: classes and fields, with commas"},
	/* What callers may have of it. Each is told at /metrics beside what is used. */
	{"rpc-body", XN_CONFIG_SIZE, "1M", .min = 65536, .max = 16 << 20, .argument = "SIZE",
	 .doc = "bytes of one call's body"},
	{"long-bodies", XN_CONFIG_SIZE, "64M", .min = 4 << 20, .max = INT64_C(1) << 34,
	 .argument = "SIZE",
	 .doc = "bytes of bodies over 32K that are being parsed or wait for that, of all callers"},
	{"session-calls", XN_CONFIG_INT, "5000", .min = 8, .max = 100000, .argument = "N",
	 .doc = "calls of one session under way, those that wait for events too"},
	{"session-arguments", XN_CONFIG_SIZE, "16M", .min = 1 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "bytes of the parameters of one session's calls under way"},
	{"all-arguments", XN_CONFIG_SIZE, "256M", .min = 1 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE",
	 .doc = "bytes of all calls' parameters, beyond which none begins that brings over 4K"},
	{"login-arguments", XN_CONFIG_SIZE, "16K", .min = 4096, .max = 1 << 20, .argument = "SIZE",
	 .doc = "bytes of one login's parameters"},
	{"session-replies", XN_CONFIG_SIZE, "64M", .min = 1 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "bytes of replies over 16K that one session has not read yet"},
	{"all-replies", XN_CONFIG_SIZE, "256M", .min = 1 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "bytes of replies over 16K that nobody has read yet, of all sessions"},
	{"old-records", XN_CONFIG_SIZE, "64M", .min = 1 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE",
	 .doc = "bytes of records that changed while replies still wait to be read with the old"},
	{"session-waits", XN_CONFIG_INT, "2000", .min = 1, .max = 100000, .argument = "N",
	 .doc = "event.from and event.next of one session that wait"},
	{"all-waits", XN_CONFIG_INT, "20000", .min = 1, .max = 1000000, .argument = "N",
	 .doc = "event.from and event.next that wait, of all sessions"},
	{"event-classes", XN_CONFIG_INT, "1000", .min = 10, .max = 100000, .argument = "N",
	 .doc = "classes and objects that one event.from names, or one session registers"},
	{"event-queue", XN_CONFIG_SIZE, "10000000", .min = 65536, .max = 1 << 30, .argument = "SIZE",
	 .doc = "bytes of events that wait for one session's event.next"},
	{"string-bytes", XN_CONFIG_SIZE, "256K", .min = 4096, .max = 16 << 20, .argument = "SIZE",
	 .doc = "bytes of one text that a caller gives"},
	{"field-items", XN_CONFIG_INT, "10000", .min = 100, .max = 1000000, .argument = "N",
	 .doc = "members of one list or map that a caller gives or adds to"},
	{"row-bytes", XN_CONFIG_SIZE, "1M", .min = 65536, .max = 64 << 20, .argument = "SIZE",
	 .doc = "bytes of one object to which a caller still may add"},
	{"all-rows", XN_CONFIG_INT, "1000000", .min = 1000, .max = 100000000, .argument = "N",
	 .doc = "objects in the database beyond which callers make no more"},
	{"pending-tasks", XN_CONFIG_INT, "10000", .min = 10, .max = 20000, .argument = "N",
	 .doc = "tasks that are not finished beyond which callers begin none but to end something"},
	{"client-tasks", XN_CONFIG_INT, "5000", .min = 1, .max = 20000, .argument = "N",
	 .doc = "of these, made by task.create; the rest is left for what the host does"},
	{"account-tasks", XN_CONFIG_INT, "500", .min = 1, .max = 20000, .argument = "N",
	 .doc = "of these, made by the clients of one account"},
	{"task-bytes", XN_CONFIG_SIZE, "64K", .min = 4096, .max = 64 << 20, .argument = "SIZE",
	 .doc = "bytes of one task to which a caller still may add"},
	{"transfers", XN_CONFIG_INT, "32", .min = 1, .max = 1000,
	 .argument = "N", .doc = "disks, archives and dumps under way over HTTP; beyond 503"},
	{"consoles", XN_CONFIG_INT, "64", .min = 1, .max = 10000,
	 .argument = "N", .doc = "consoles that are open; beyond 503"},
	{"backups", XN_CONFIG_INT, "2", .min = 1, .max = 16,
	 .argument = "N", .doc = "backups of the database under way; beyond 503"},
	{"backup-backlog", XN_CONFIG_SIZE, "256M", .min = 16 << 20, .max = INT64_C(1) << 40,
	 .argument = "SIZE", .doc = "bytes of journal that wait for the slowest client of a backup; beyond, it is cut"},
	{"audit-downloads", XN_CONFIG_INT, "8", .min = 1, .max = 1000,
	 .argument = "N", .doc = "downloads of the audit log under way; beyond 503"},
	{"metrics-scrapes", XN_CONFIG_INT, "4", .min = 1, .max = 100,
	 .argument = "N", .doc = "requests of /metrics that are being answered; beyond 503"},
	{"history-questions-pending", XN_CONFIG_INT, "32", .min = 1, .max = 1000,
	 .argument = "N", .doc = "questions to the database's history that run or wait"},
	{"xenstore-history-questions-pending", XN_CONFIG_INT, "32", .min = 1, .max = 1000,
	 .argument = "N", .doc = "questions to the xenstore's history that run or wait"},
	{"http-header-idle", XN_CONFIG_INT, "10", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS",
	 .doc = "longest silence inside a request's head, and before the first"},
	{"http-header-time", XN_CONFIG_INT, "60", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS", .doc = "longest time for a request's head; then 408"},
	{"http-body-idle", XN_CONFIG_INT, "30", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS",
	 .doc = "longest silence inside a request's body; then 408, or the end of an upload. Less "
		"than 4 KB of an upload are as good as silence"},
	{"http-body-time", XN_CONFIG_INT, "300", .min = 1, .max = 86400, .unit = "seconds",
	 .argument = "SECONDS", .doc = "longest time for the body of an API call; then 408"},
	{"http-handshake-time", XN_CONFIG_INT, "15", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS", .doc = "longest time for a TLS handshake"},
	{"http-kept-idle", XN_CONFIG_INT, "1800", .min = 1, .max = 86400, .unit = "seconds",
	 .argument = "SECONDS", .doc = "how long a connection is kept between two requests"},
	{"http-write-idle", XN_CONFIG_INT, "120", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS",
	 .doc = "how long a peer may read nothing of its reply, or one side of a console of the other"},
	{"http-linger", XN_CONFIG_INT, "2", .min = 1, .max = 60, .unit = "seconds",
	 .argument = "SECONDS", .doc = "how long a peer may take to close after the last reply"},
	{"http-header-size", XN_CONFIG_SIZE, "16K", .min = 1 << 10, .max = 16 << 10,
	 .argument = "SIZE", .doc = "largest head of a request; beyond 431"},
	{"http-strangers-memory", XN_CONFIG_SIZE, "64M", .min = 1 << 20, .max = INT64_C(1) << 34,
	 .argument = "SIZE",
	 .doc = "bytes buffered for all connections that showed no session; beyond 503"},
	{"http-connections", XN_CONFIG_INT, "16384", .min = 16, .max = 1000000, .argument = "N",
	 .doc = "connections at a time, less where the limit of open files is low"},
	{"http-connections-tcp", XN_CONFIG_INT, "16384", .min = 1, .max = 1000000, .argument = "N",
	 .doc = "of these, over plain TCP"},
	{"http-connections-tls", XN_CONFIG_INT, "1200", .min = 1, .max = 100000, .argument = "N",
	 .doc = "of these, over TLS, at some 40 KB each; more are refused"},
	{"http-connections-unix", XN_CONFIG_INT, "4096", .min = 1, .max = 100000, .argument = "N",
	 .doc = "of these, over the Unix socket"},
	{"http-strangers-tcp", XN_CONFIG_INT, "12000", .min = 1, .max = 1000000, .argument = "N",
	 .doc = "connections over plain TCP that showed no session yet"},
	{"http-strangers-tls", XN_CONFIG_INT, "1000", .min = 1, .max = 100000, .argument = "N",
	 .doc = "the same over TLS"},
	{"http-strangers-unix", XN_CONFIG_INT, "1024", .min = 1, .max = 100000, .argument = "N",
	 .doc = "the same over the Unix socket"},
	/* Commands of xe: HTTP's limits end where the conversation begins. */
	{"xe-arguments", XN_CONFIG_SIZE, "200K", .min = 4096, .max = 4 << 20, .argument = "SIZE",
	 .doc = "bytes of one command's arguments; beyond 413"},
	{"xe-conversations", XN_CONFIG_INT, "256", .min = 8, .max = 10000, .argument = "N",
	 .doc = "commands of xe at a time, less where the limit of open files is low"},
	{"xe-strangers", XN_CONFIG_INT, "128", .min = 4, .max = 10000, .argument = "N",
	 .doc = "of these, that have not logged in"},
	{"xe-handshake-time", XN_CONFIG_INT, "15", .min = 1, .max = 3600, .unit = "seconds",
	 .argument = "SECONDS", .doc = "longest time for the client's part of the handshake"},
	{"xe-answer-time", XN_CONFIG_INT, "3600", .min = 1, .max = 86400, .unit = "seconds",
	 .argument = "SECONDS",
	 .doc = "longest silence of a client that was asked something or moves a file"},
	{"xe-write-idle", XN_CONFIG_INT, "1800", .min = 1, .max = 86400, .unit = "seconds",
	 .argument = "SECONDS", .doc = "how long a client may read nothing of a command's output"},
	{"xe-output", XN_CONFIG_SIZE, "64M", .min = 1 << 20, .max = 1 << 30, .argument = "SIZE",
	 .doc = "bytes of one command's output that were not read yet"},
	{"xe-load", XN_CONFIG_SIZE, "32M", .min = 4096, .max = 256 << 20, .argument = "SIZE",
	 .doc = "bytes of a file that a command reads whole"},
	{"xe-all-loads", XN_CONFIG_SIZE, "128M", .min = 1 << 20, .max = INT64_C(1) << 34,
	 .argument = "SIZE", .doc = "bytes of such files at a time, of all commands"},
	{"log-level", XN_CONFIG_CHOICE, "info", .choices = "error|warn|info|debug",
	 .argument = "LEVEL", .doc = "least important lines that are still written"},
	{"log-format", XN_CONFIG_CHOICE, "text", .choices = "text|json", .argument = "FORMAT",
	 .doc = "how log lines look"},
	{NULL},
};

enum { N_KEYS = XN_ARRAY_SIZE(xn_config_keys) - 1, MAX_FILE_BYTES = 1 << 20 };

struct setting {
	char *text; /* as given, or NULL: the default holds */
	int64_t number;
	bool from_command_line;
};

struct xn_config {
	struct setting settings[N_KEYS];
};

static int find_key(const char *name)
{
	for (int i = 0; i < (int)N_KEYS; i++)
		if (strcmp(xn_config_keys[i].name, name) == 0)
			return i;
	return -1;
}

/* Asking for a key that is not in the table is our bug. */
static int need_key(const char *name)
{
	int i = find_key(name);

	if (i < 0)
		abort();
	return i;
}

/* ---- values ---- */

static int parse_number(const char *text, bool is_size, int64_t *out)
{
	static const char suffixes[] = "KMGT";
	int64_t factor = 1;
	const char *suffix;
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno || end == text || isspace((unsigned char)*text))
		return -EINVAL;
	if (is_size && *end && (suffix = strchr(suffixes, *end))) {
		factor = INT64_C(1) << 10 * (suffix - suffixes + 1);
		end++;
		if (strcmp(end, "iB") == 0)
			end += 2;
	}
	if (*end || __builtin_mul_overflow(*out, factor, out))
		return -EINVAL;
	return 0;
}

static int parse_bool(const char *text, int64_t *out)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {{"true", true}, {"yes", true}, {"on", true},
		     {"false", false}, {"no", false}, {"off", false}};

	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i].text) == 0) {
			*out = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t len = strlen(text);

	for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (strcspn(at, "|") == len && strncmp(at, text, len) == 0)
			return true;
	return false;
}

static bool is_port(const char *text)
{
	int64_t port;

	return parse_number(text, false, &port) == 0 && port >= 0 && port <= 65535;
}

static bool is_address(const char *text)
{
	bool is_v6 = *text == '[';
	const char *host = text + is_v6, *end = is_v6 ? strstr(text, "]:") : strrchr(text, ':');
	char copy[INET6_ADDRSTRLEN];
	uint8_t bytes[16];

	if (!end || (size_t)(end - host) >= sizeof(copy) || !is_port(end + 1 + is_v6))
		return false;
	memcpy(copy, host, end - host);
	copy[end - host] = '\0';
	return inet_pton(is_v6 ? AF_INET6 : AF_INET, copy, bytes) == 1;
}

static char *check_number(const struct xn_config_key *key, const char *text, int64_t *number)
{
	bool is_size = key->type == XN_CONFIG_SIZE;

	if (parse_number(text, is_size, number) < 0)
		return xn_asprintf("\"%s\" is no %s", text,
				   is_size ? "size (a number of bytes, or with K, M, G, T)"
					   : "number");
	if (*number < key->min || *number > key->max)
		return xn_asprintf("%s is not between %" PRId64 " and %" PRId64, text, key->min,
				   key->max);
	return NULL;
}

/* NULL, or what is wrong with @text (the caller's). */
static char *check_value(const struct xn_config_key *key, const char *text, int64_t *number)
{
	switch (key->type) {
	case XN_CONFIG_INT:
	case XN_CONFIG_SIZE:
		return check_number(key, text, number);
	case XN_CONFIG_BOOL:
		if (parse_bool(text, number) < 0)
			return xn_asprintf("\"%s\" is neither true nor false", text);
		return NULL;
	case XN_CONFIG_CHOICE:
		if (!is_choice(key->choices, text))
			return xn_asprintf("\"%s\" is none of %s", text, key->choices);
		return NULL;
	case XN_CONFIG_ADDRESS:
		if (!is_address(text))
			return xn_asprintf("\"%s\" is no address and port (127.0.0.1:80, [::1]:80)",
					   text);
		return NULL;
	case XN_CONFIG_STRING:
		if (!*text)
			return xn_strdup("the value is empty");
		return NULL;
	}
	return NULL;
}

struct xn_config *xn_config_new(void)
{
	struct xn_config *config = xn_calloc(1, sizeof(*config));

	for (int i = 0; i < (int)N_KEYS; i++) {
		const struct xn_config_key *key = &xn_config_keys[i];
		char *wrong = key->otherwise ? check_value(key, key->otherwise,
							   &config->settings[i].number)
					     : NULL;
		if (wrong)
			abort(); /* a default that its own row refuses */
	}
	return config;
}

void xn_config_free(struct xn_config *config)
{
	if (!config)
		return;
	for (int i = 0; i < (int)N_KEYS; i++)
		free(config->settings[i].text);
	free(config);
}

static void store(struct setting *setting, const char *text, int64_t number)
{
	char *copy = xn_strdup(text); /* @text may be the old one */

	free(setting->text);
	setting->text = copy;
	setting->number = number;
}

int xn_config_set(struct xn_config *config, const char *name, const char *value,
		  bool from_command_line, const char *where, char **why)
{
	int i = find_key(name);
	const struct xn_config_key *key = &xn_config_keys[i < 0 ? 0 : i];
	struct setting *setting = &config->settings[i < 0 ? 0 : i];
	int64_t number = 0;
	char *wrong;

	if (i < 0) {
		*why = xn_asprintf("%s: there is no option \"%s\"", where, name);
		return -1;
	}
	if (setting->text && setting->from_command_line == from_command_line) {
		*why = xn_asprintf("%s: %s is given twice", where, name);
		return -1;
	}
	wrong = check_value(key, value, &number);
	if (wrong) {
		*why = xn_asprintf("%s: %s: %s", where, name, wrong);
		free(wrong);
		return -1;
	}
	if (setting->text && !from_command_line)
		return 0; /* the command line has said it */
	store(setting, value, number);
	setting->from_command_line = from_command_line;
	return 0;
}

void xn_config_decide(struct xn_config *config, const char *name, const char *value)
{
	int i = need_key(name);
	int64_t number = 0;
	char *wrong = check_value(&xn_config_keys[i], value, &number);

	if (wrong)
		abort();
	store(&config->settings[i], value, number);
}

/* ---- the file ---- */

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

static int set_from_line(struct xn_config *config, char *line, const char *where, char **why)
{
	char *equals, *value;
	size_t len;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals) {
		*why = xn_asprintf("%s: \"%.60s\" is not of the form name = value", where, line);
		return -1;
	}
	*equals = '\0';
	value = trim(equals + 1);
	len = strlen(value);
	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		value[len - 1] = '\0';
		value++;
	}
	return xn_config_set(config, trim(line), value, false, where, why);
}

/* The whole file as text, or NULL with *why. */
static char *read_text(const char *path, char **why)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t len;

	if (!file) {
		*why = xn_asprintf("%s: %s", path, strerror(errno));
		return NULL;
	}
	text = xn_malloc(MAX_FILE_BYTES + 1);
	len = fread(text, 1, MAX_FILE_BYTES + 1, file);
	if (ferror(file))
		*why = xn_asprintf("%s: %s", path, strerror(errno));
	else if (len > MAX_FILE_BYTES)
		*why = xn_asprintf("%s: larger than %d bytes", path, (int)MAX_FILE_BYTES);
	else if (memchr(text, '\0', len))
		*why = xn_asprintf("%s: not a text file", path);
	fclose(file);
	if (*why) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

int xn_config_load_file(struct xn_config *config, const char *path, char **why)
{
	char *rest, *line, *text;
	unsigned number = 0;
	int rc = 0;

	*why = NULL;
	text = rest = read_text(path, why);
	while (rc == 0 && (line = strsep(&rest, "\n"))) {
		char *where = xn_asprintf("%s, line %u", path, ++number);

		rc = set_from_line(config, line, where, why);
		free(where);
	}
	if (!text)
		rc = -1;
	free(text);
	return rc;
}

/* ---- reading ---- */

bool xn_config_is_set(const struct xn_config *config, const char *name)
{
	return config->settings[need_key(name)].text != NULL;
}

const char *xn_config_string(const struct xn_config *config, const char *name)
{
	int i = need_key(name);
	const char *text = config->settings[i].text;

	return text ? text : xn_config_keys[i].otherwise;
}

int64_t xn_config_int(const struct xn_config *config, const char *name)
{
	return config->settings[need_key(name)].number;
}

bool xn_config_bool(const struct xn_config *config, const char *name)
{
	return xn_config_int(config, name) != 0;
}
