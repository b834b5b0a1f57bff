/* Certificates and keys: reading, checking, making; see tls_identity.h. */
#include "rpc/tls_identity.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rpc/tls_library.h"

enum { KEY_BITS = 2048, KEY_BITS_MIN = 2048, KEY_BITS_MAX = 4096, YEARS = 10, CHAIN_MAX = 10 };

#if MBEDTLS_VERSION_MAJOR >= 3
#define PARSE_KEY(key, text, len, random) \
	mbedtls_pk_parse_key(key, text, len, NULL, 0, mbedtls_ctr_drbg_random, &(random)->drbg)
#define CHECK_PAIR(pub, key, random) \
	mbedtls_pk_check_pair(pub, key, mbedtls_ctr_drbg_random, &(random)->drbg)
#else
#define PARSE_KEY(key, text, len, random) mbedtls_pk_parse_key(key, text, len, NULL, 0)
#define CHECK_PAIR(pub, key, random) mbedtls_pk_check_pair(pub, key)
#endif

/* ---- randomness ---- */

static int give_seed(void *arg, unsigned char *out, size_t len)
{
	struct xn_tls_random *random = arg;

	if (len > random->left)
		return MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
	memcpy(out, random->seed, len);
	random->seed += len;
	random->left -= len;
	return 0;
}

int xn_tls_random_init(struct xn_tls_random *random, const void *seed)
{
	int rc;

	random->seed = seed;
	random->left = XN_TLS_SEED;
	mbedtls_ctr_drbg_init(&random->drbg);
	mbedtls_ctr_drbg_set_entropy_len(&random->drbg, XN_TLS_SEED / 2);
	rc = mbedtls_ctr_drbg_seed(&random->drbg, give_seed, random, NULL, 0);
	/* The seed is all there is: no second helping. */
	mbedtls_ctr_drbg_set_reseed_interval(&random->drbg, INT_MAX);
	random->left = 0;
	return rc ? -EIO : 0;
}

void xn_tls_random_clear(struct xn_tls_random *random)
{
	mbedtls_ctr_drbg_free(&random->drbg);
}

/* ---- life ---- */

static struct xn_tls_identity *identity_new(void)
{
	struct xn_tls_identity *identity = xn_calloc(1, sizeof(*identity));

	identity->holders = 1;
	mbedtls_x509_crt_init(&identity->chain);
	mbedtls_pk_init(&identity->key);
	mbedtls_ssl_config_init(&identity->config);
	return identity;
}

struct xn_tls_identity *xn_tls_identity_ref(struct xn_tls_identity *identity)
{
	identity->holders++;
	return identity;
}

void xn_tls_identity_unref(struct xn_tls_identity *identity)
{
	if (!identity || --identity->holders)
		return;
	mbedtls_ssl_config_free(&identity->config);
	mbedtls_x509_crt_free(&identity->chain);
	mbedtls_pk_free(&identity->key);
	free(identity);
}

/* ---- facts ---- */

static int64_t seconds_of(const mbedtls_x509_time *t)
{
	struct tm tm = {.tm_year = t->year - 1900, .tm_mon = t->mon - 1, .tm_mday = t->day,
			.tm_hour = t->hour, .tm_min = t->min, .tm_sec = t->sec};

	return timegm(&tm);
}

static void print_fingerprint(const mbedtls_x509_crt *crt, mbedtls_md_type_t type, char *out)
{
	const mbedtls_md_info_t *info = mbedtls_md_info_from_type(type);
	unsigned char digest[MBEDTLS_MD_MAX_SIZE];
	size_t size = info ? mbedtls_md_get_size(info) : 0;

	*out = '\0';
	if (!info || mbedtls_md(info, crt->raw.p, crt->raw.len, digest) != 0)
		return;
	for (size_t i = 0; i < size; i++)
		out += sprintf(out, i ? ":%02X" : "%02X", digest[i]);
}

static void read_facts(struct xn_tls_identity *identity)
{
	struct xn_tls_facts *facts = &identity->facts;

	facts->not_before_s = seconds_of(&identity->chain.valid_from);
	facts->not_after_s = seconds_of(&identity->chain.valid_to);
	print_fingerprint(&identity->chain, MBEDTLS_MD_SHA256, facts->sha256);
	print_fingerprint(&identity->chain, MBEDTLS_MD_SHA1, facts->sha1);
}

const struct xn_tls_facts *xn_tls_identity_facts(const struct xn_tls_identity *identity)
{
	return &identity->facts;
}

#define CERTIFICATE_BEGIN "-----BEGIN CERTIFICATE-----\n"
#define CERTIFICATE_END "-----END CERTIFICATE-----\n"

void xn_tls_identity_pem(const struct xn_tls_identity *identity, struct xn_buf *out)
{
	const mbedtls_x509_buf *raw = &identity->chain.raw;
	size_t size = raw->len * 2 + 128, len = 0;
	char *to = xn_buf_reserve(out, size);

	if (mbedtls_pem_write_buffer(CERTIFICATE_BEGIN, CERTIFICATE_END, raw->p, raw->len,
				     (unsigned char *)to, size, &len) == 0)
		out->len += len - 1; /* without the terminator */
}

/* ---- reading ---- */

/* The library wants the terminator counted. */
static size_t pem_len(const char *text)
{
	return strlen(text) + 1;
}

/*
 * Why a key that is no good is not: the library tells little. PKCS#8 names the algorithm; a PKCS#1
 * key of more than two primes has version 1.
 */
static int refuse_key(const char *text, struct xn_error *err)
{
	mbedtls_pem_context pem;
	unsigned char *at, *end;
	size_t len = 0, used;
	int version = 0, kind = 0;

	mbedtls_pem_init(&pem);
	if (mbedtls_pem_read_buffer(&pem, "-----BEGIN RSA PRIVATE KEY-----",
				    "-----END RSA PRIVATE KEY-----", (const unsigned char *)text,
				    NULL, 0, &used) == 0) {
		at = pem.buf;
		end = at + pem.buflen;
		if (mbedtls_asn1_get_tag(&at, end, &len, MBEDTLS_ASN1_CONSTRUCTED |
						 MBEDTLS_ASN1_SEQUENCE) == 0 &&
		    mbedtls_asn1_get_int(&at, end, &version) == 0 && version == 1)
			kind = 1;
	}
	mbedtls_pem_free(&pem);
	return kind ? xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_KEY_RSA_MULTI_NOT_SUPPORTED)
		    : xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_KEY_INVALID);
}

static const char *algorithm_oid(const mbedtls_pk_context *key)
{
	switch (mbedtls_pk_get_type(key)) {
	case MBEDTLS_PK_ECKEY:
	case MBEDTLS_PK_ECKEY_DH:
	case MBEDTLS_PK_ECDSA:
		return "1.2.840.10045.2.1";
	default:
		return "unknown";
	}
}

static int parse_key(struct xn_tls_identity *identity, const char *text,
		     struct xn_tls_random *random, struct xn_error *err)
{
	char bits[16];

	if (PARSE_KEY(&identity->key, (const unsigned char *)text, pem_len(text), random) != 0)
		return refuse_key(text, err);
	if (mbedtls_pk_get_type(&identity->key) != MBEDTLS_PK_RSA)
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED,
				    algorithm_oid(&identity->key));
	snprintf(bits, sizeof(bits), "%zu", mbedtls_pk_get_bitlen(&identity->key));
	if (mbedtls_pk_get_bitlen(&identity->key) < KEY_BITS_MIN ||
	    mbedtls_pk_get_bitlen(&identity->key) > KEY_BITS_MAX)
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED,
				    bits);
	return 0;
}

static void print_time(int64_t when_s, char out[32])
{
	time_t t = (time_t)when_s;
	struct tm tm = {0};

	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y%m%dT%H:%M:%SZ", &tm);
}

static int check_dates(const struct xn_tls_facts *facts, int64_t now_s, struct xn_error *err)
{
	char now[32], limit[32];

	print_time(now_s, now);
	if (now_s < facts->not_before_s) {
		print_time(facts->not_before_s, limit);
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_NOT_VALID_YET, now, limit);
	}
	if (now_s > facts->not_after_s) {
		print_time(facts->not_after_s, limit);
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_EXPIRED, now, limit);
	}
	return 0;
}

static unsigned chain_length(const mbedtls_x509_crt *crt)
{
	unsigned n = 0;

	for (; crt && crt->raw.len; crt = crt->next)
		n++;
	return n;
}

/* Certificates that @text begins, also where it ends inside the line that says so. */
static unsigned count_begun(const char *text)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *newline = strrchr(text, '\n');
	const char *last = newline ? newline + 1 : text;
	size_t left = strlen(last);
	unsigned n = left > 0 && left < sizeof(begin) - 1 && memcmp(last, begin, left) == 0;

	for (const char *at = strstr(text, begin); at; at = strstr(at + 1, begin))
		n++;
	return n;
}

/* All of @text or nothing: the library passes over a certificate that is cut off. */
static bool add_to_chain(mbedtls_x509_crt *chain, const char *text)
{
	unsigned before = chain_length(chain);

	return mbedtls_x509_crt_parse(chain, (const unsigned char *)text, pem_len(text)) == 0 &&
	       chain_length(chain) - before == count_begun(text) &&
	       chain_length(chain) <= CHAIN_MAX;
}

static bool has_good_signature(const mbedtls_x509_crt *crt)
{
	return crt->sig_md == MBEDTLS_MD_SHA256 || crt->sig_md == MBEDTLS_MD_SHA384 ||
	       crt->sig_md == MBEDTLS_MD_SHA512;
}

static int parse_certificate(struct xn_tls_identity *identity, const char *text, int64_t now_s,
			     struct xn_tls_random *random, struct xn_error *err)
{
	mbedtls_x509_crt *crt = &identity->chain;

	if (!add_to_chain(crt, text))
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_INVALID);
	if (CHECK_PAIR(&crt->pk, &identity->key, random) != 0)
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_KEY_MISMATCH);
	read_facts(identity);
	if (now_s >= 0 && check_dates(&identity->facts, now_s, err) < 0)
		return -1;
	if (!has_good_signature(crt))
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED);
	return 0;
}

static int parse_all(struct xn_tls_identity *identity, const struct xn_tls_pem *pem, int64_t now_s,
		     struct xn_tls_random *random, struct xn_error *err)
{
	if (parse_key(identity, pem->key, random, err) < 0 ||
	    parse_certificate(identity, pem->certificate, now_s, random, err) < 0)
		return -1;
	if (pem->chain && *pem->chain && !add_to_chain(&identity->chain, pem->chain))
		return xn_error_set(err, XN_ERR_SERVER_CERTIFICATE_CHAIN_INVALID);
	return 0;
}

struct xn_tls_identity *xn_tls_identity_parse(const struct xn_tls_pem *pem, int64_t now_s,
					      const void *seed, struct xn_error *err)
{
	struct xn_tls_identity *identity = identity_new();
	struct xn_tls_random random;
	int rc = xn_tls_random_init(&random, seed);

	if (rc < 0)
		xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "mbedtls has no randomness");
	else
		rc = parse_all(identity, pem, now_s, &random, err);
	xn_tls_random_clear(&random);
	if (rc == 0)
		return identity;
	xn_tls_identity_unref(identity);
	return NULL;
}

/* ---- making ---- */

/* One general name, written backwards as all of DER is with this library. */
static int add_name(unsigned char **at, unsigned char *start, int tag, const void *data, size_t len)
{
	int total = 0, rc;

	rc = mbedtls_asn1_write_raw_buffer(at, start, data, len);
	if (rc < 0)
		return rc;
	total += rc;
	rc = mbedtls_asn1_write_len(at, start, len);
	if (rc < 0)
		return rc;
	total += rc;
	rc = mbedtls_asn1_write_tag(at, start,
				    (unsigned char)(MBEDTLS_ASN1_CONTEXT_SPECIFIC | tag));
	return rc < 0 ? rc : total + rc;
}

static int add_sequence(unsigned char **at, unsigned char *start, size_t len)
{
	int len_len = mbedtls_asn1_write_len(at, start, len);
	int rc = len_len < 0 ? len_len
			     : mbedtls_asn1_write_tag(at, start, MBEDTLS_ASN1_CONSTRUCTED |
							     MBEDTLS_ASN1_SEQUENCE);

	return rc < 0 ? rc : len_len + rc;
}

static int set_alternative_names(mbedtls_x509write_cert *crt, const struct xn_tls_names *names)
{
	enum { DNS = 2, IP = 7 };
	unsigned char der[1024], *at = der + sizeof(der);
	int total = 0, rc = 0;

	for (unsigned i = names->n_addresses; rc >= 0 && i-- > 0;) {
		rc = add_name(&at, der, IP, names->addresses[i].bytes, names->addresses[i].len);
		total += rc;
	}
	if (rc >= 0 && strcmp(names->host, "localhost") != 0) {
		rc = add_name(&at, der, DNS, "localhost", strlen("localhost"));
		total += rc;
	}
	if (rc >= 0) {
		rc = add_name(&at, der, DNS, names->host, strlen(names->host));
		total += rc;
	}
	if (rc >= 0) {
		rc = add_sequence(&at, der, (size_t)total);
		total += rc;
	}
	return rc < 0 ? rc
		      : mbedtls_x509write_crt_set_extension(
				crt, MBEDTLS_OID_SUBJECT_ALT_NAME,
				MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, at,
				(size_t)total);
}

/* serverAuth: some systems trust no certificate without it. */
static int set_purpose(mbedtls_x509write_cert *crt)
{
	unsigned char der[32], *at = der + sizeof(der);
	int total = mbedtls_asn1_write_oid(&at, der, MBEDTLS_OID_SERVER_AUTH,
					   MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH));
	int rc = total < 0 ? total : add_sequence(&at, der, (size_t)total);

	return rc < 0 ? rc
		      : mbedtls_x509write_crt_set_extension(
				crt, MBEDTLS_OID_EXTENDED_KEY_USAGE,
				MBEDTLS_OID_SIZE(MBEDTLS_OID_EXTENDED_KEY_USAGE), 0, at,
				(size_t)(total + rc));
}

/* 16 random bytes, the first not 0 and without its top bit: 128 bits at most, and positive. */
static int set_serial(mbedtls_x509write_cert *crt, struct xn_tls_random *random, mbedtls_mpi *serial)
{
	unsigned char bytes[16];
	int rc = mbedtls_ctr_drbg_random(&random->drbg, bytes, sizeof(bytes));

	bytes[0] = (bytes[0] & 0x3f) | 0x40;
	if (rc == 0)
		rc = mbedtls_mpi_read_binary(serial, bytes, sizeof(bytes));
	return rc ? rc : mbedtls_x509write_crt_set_serial(crt, serial);
}

static int set_validity(mbedtls_x509write_cert *crt, int64_t now_s)
{
	enum { DAY_S = 86400 };
	/* Clocks differ: a day back. */
	time_t from = (time_t)(now_s - DAY_S), to = (time_t)(now_s + (int64_t)YEARS * 365 * DAY_S);
	char text[2][16];
	struct tm tm = {0};

	gmtime_r(&from, &tm);
	strftime(text[0], sizeof(text[0]), "%Y%m%d%H%M%S", &tm);
	gmtime_r(&to, &tm);
	strftime(text[1], sizeof(text[1]), "%Y%m%d%H%M%S", &tm);
	return mbedtls_x509write_crt_set_validity(crt, text[0], text[1]);
}

static int add_pem(struct xn_buf *out, int rc, const char *pem)
{
	if (rc == 0)
		xn_buf_add_string(out, pem);
	return rc;
}

static int write_certificate(mbedtls_x509write_cert *crt, mbedtls_pk_context *key,
			     const struct xn_tls_names *names, int64_t now_s,
			     struct xn_tls_random *random, struct xn_buf *pem_out)
{
	char subject[128], pem[8192];
	mbedtls_mpi serial;
	int rc;

	mbedtls_mpi_init(&serial);
	mbedtls_x509write_crt_set_version(crt, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(crt, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(crt, key);
	mbedtls_x509write_crt_set_issuer_key(crt, key);
	snprintf(subject, sizeof(subject), "CN=%s", names->host);
	rc = mbedtls_x509write_crt_set_subject_name(crt, subject);
	rc = rc ? rc : mbedtls_x509write_crt_set_issuer_name(crt, subject);
	rc = rc ? rc : set_serial(crt, random, &serial);
	rc = rc ? rc : set_validity(crt, now_s);
	rc = rc ? rc : mbedtls_x509write_crt_set_basic_constraints(crt, 0, -1);
	rc = rc ? rc : mbedtls_x509write_crt_set_subject_key_identifier(crt);
	rc = rc ? rc : set_purpose(crt);
	rc = rc ? rc : set_alternative_names(crt, names);
	rc = rc ? rc : mbedtls_x509write_crt_pem(crt, (unsigned char *)pem, sizeof(pem),
						 mbedtls_ctr_drbg_random, &random->drbg);
	mbedtls_mpi_free(&serial);
	return add_pem(pem_out, rc, pem);
}

static int make_key(mbedtls_pk_context *key, struct xn_tls_random *random, struct xn_buf *pem_out)
{
	char pem[4096];
	int rc = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA));

	rc = rc ? rc : mbedtls_rsa_gen_key(mbedtls_pk_rsa(*key), mbedtls_ctr_drbg_random,
					   &random->drbg, KEY_BITS, 65537);
	rc = rc ? rc : mbedtls_pk_write_key_pem(key, (unsigned char *)pem, sizeof(pem));
	rc = add_pem(pem_out, rc, pem);
	mbedtls_platform_zeroize(pem, sizeof(pem));
	return rc;
}

int xn_tls_identity_make(const struct xn_tls_names *names, int64_t now_s, const void *seed,
			 struct xn_buf *pem_out)
{
	struct xn_tls_random random;
	mbedtls_x509write_cert crt;
	mbedtls_pk_context key;
	int rc = xn_tls_random_init(&random, seed);

	mbedtls_x509write_crt_init(&crt);
	mbedtls_pk_init(&key);
	rc = rc ? rc : make_key(&key, &random, pem_out);
	rc = rc ? rc : write_certificate(&crt, &key, names, now_s, &random, pem_out);
	mbedtls_x509write_crt_free(&crt);
	mbedtls_pk_free(&key);
	xn_tls_random_clear(&random);
	return rc ? -EIO : 0;
}
