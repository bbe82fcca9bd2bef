/* A server with known times: an OpenAI-compatible endpoint that streams tokens on a schedule and logs
 * when each request came and when each token chunk was written. What a load generator reports is
 * judged by this log, never by the schedule: a late write is late in the log too.
 *
 * Times are CLOCK_MONOTONIC. A request was received when its last byte was, by the kernel's own
 * receive stamp (SO_TIMESTAMPNS, moved over from CLOCK_REALTIME); a write's time is taken right
 * before the system call. One thread, one epoll, one timer per stream in a heap. Linux only.
 *
 * Log, a line per request:
 *   request_id connection nth_on_connection status tokens received_ns write_ns...
 * where status is ok, aborted (the client left) or open (the server was stopped), tokens is how many
 * were written, and each write_ns is counted from received_ns. An absent x-request-id is "-".
 *
 * With -DTLS (and -lssl -lcrypto) it speaks https, with --certificate FILE, a PEM file that holds the
 * key too. TLS works in memory between the same system calls, so the same stamps hold.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *tls_context;
#endif

enum {
    MAX_CONNECTIONS = 16384, MAX_BODY = 64 << 20, ID_SIZE = 128, OUT_SIZE = 8192,
    SPARE = 32768, /* room beyond a read: for the rest of a TLS record, and a terminating zero */
};

static struct {
    int port, tokens, tokens_per_chunk, role_chunk, early_headers, lockstep;
    int64_t ttft_ns, itl_ns;
    FILE *log;
} opt = {.tokens_per_chunk = 1, .ttft_ns = 200000000, .itl_ns = 10000000};

typedef struct {
    int fd, heap_at;                       /* heap_at: -1 while no stream is scheduled */
    unsigned number, requests;
    char *in;                              /* bytes read and not yet used up */
    size_t in_len, in_size;
    int64_t stamp_ns;                      /* when the newest of them came */
    /* the stream that is under way */
    int streaming, chat, headers_sent, close_after, continued;
    char id[ID_SIZE];
    int64_t received_ns, due_ns;
    int tokens, tokens_sent, prompt_tokens, chunks;
    int64_t *writes;                       /* one per chunk, counted from received_ns */
    int writes_size;
#ifdef TLS
    SSL *tls;
    BIO *tls_in, *tls_out;
#endif
} Conn;

static int epoll_fd, listen_fd, heap_len;
static unsigned connections;
static Conn *heap[MAX_CONNECTIONS];
static volatile sig_atomic_t stopping;

static const char *const words[] = {"time", "year", "people", "way", "day", "man", "thing", "life",
                                    "world", "school", "state", "house", "water", "money", "story",
                                    "fact"};

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* -- the heap of streams, earliest due first ------------------------------------------------- */

static void heap_put(int i, Conn *c) { heap[i] = c, c->heap_at = i; }

static void heap_settle(int i) {
    Conn *c = heap[i];
    for (; i > 0 && heap[(i - 1) / 2]->due_ns > c->due_ns; i = (i - 1) / 2)
        heap_put(i, heap[(i - 1) / 2]);
    for (int child; (child = 2 * i + 1) < heap_len; i = child) {
        if (child + 1 < heap_len && heap[child + 1]->due_ns < heap[child]->due_ns) child++;
        if (heap[child]->due_ns >= c->due_ns) break;
        heap_put(i, heap[child]);
    }
    heap_put(i, c);
}
static void heap_add(Conn *c) { heap_put(heap_len++, c), heap_settle(c->heap_at); }
static void heap_remove(Conn *c) {
    int i = c->heap_at;
    c->heap_at = -1;
    if (i >= 0 && i < --heap_len) heap_put(i, heap[heap_len]), heap_settle(i);
}

/* -- connections ------------------------------------------------------------------------------ */

static void log_stream(Conn *c, const char *status) {
    if (!opt.log) return;
    fprintf(opt.log, "%s %u %u %s %d %lld", c->id, c->number, c->requests, status, c->tokens_sent,
            (long long)c->received_ns);
    for (int i = 0; i < c->chunks; i++) fprintf(opt.log, " %lld", (long long)c->writes[i]);
    fputc('\n', opt.log);
    fflush(opt.log);
}

static void drop(Conn *c) {
    if (c->streaming) log_stream(c, stopping ? "open" : "aborted");
    heap_remove(c);
    close(c->fd);
#ifdef TLS
    SSL_free(c->tls);
#endif
    free(c->in), free(c->writes), free(c);
}

/* Writes are small and a reader that leaves megabytes unread measures nothing: it is dropped. */
static int send_bytes(Conn *c, const char *data, size_t n) {
    return send(c->fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

#ifdef TLS
static void tls_begin(Conn *c) {
    c->tls = SSL_new(tls_context);
    c->tls_in = BIO_new(BIO_s_mem()), c->tls_out = BIO_new(BIO_s_mem());
    SSL_set_bio(c->tls, c->tls_in, c->tls_out);
    SSL_set_accept_state(c->tls);
}
static int tls_flush(Conn *c) {
    char *data;
    long n = BIO_get_mem_data(c->tls_out, &data);
    int sent = !n || send_bytes(c, data, n);
    (void)BIO_reset(c->tls_out);
    return sent;
}
static int send_all(Conn *c, const char *data, size_t n) {
    return SSL_write(c->tls, data, n) == (int)n && tls_flush(c);
}
/* Take n bytes of ciphertext at `data`, where there is room for `size`; leave plaintext there. */
static ssize_t tls_decrypt(Conn *c, char *data, size_t n, size_t size) {
    BIO_write(c->tls_in, data, n);
    ssize_t total = 0;
    for (int got; (got = SSL_read(c->tls, data + total, size - total)) > 0;) total += got;
    int why = SSL_get_error(c->tls, -1);
    return tls_flush(c) && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_NONE) ? total : -1;
}
#else
#define send_all send_bytes
#endif

static int reply(Conn *c, const char *status, const char *json) {
    char out[1024];
    int n = snprintf(out, sizeof out,
                     "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                     status, strlen(json), json);
    return send_all(c, out, n);
}

/* -- a stream --------------------------------------------------------------------------------- */

static size_t put_headers(Conn *c, char *out) {
    if (c->headers_sent) return 0;
    c->headers_sent = 1;
    return sprintf(out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: "
                        "no-cache\r\nx-request-id: %s\r\ntransfer-encoding: chunked\r\n\r\n", c->id);
}

/* One HTTP chunk with one SSE event. */
static size_t put_event(char *out, const char *data) {
    return sprintf(out, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);
}

static size_t put_choice(Conn *c, char *out, const char *role, const char *text, const char *finish) {
    char data[OUT_SIZE / 2], *p = data;
    p += sprintf(p, "{\"id\":\"truth-%u-%u\",\"object\":\"%s\",\"created\":1700000000,"
                    "\"model\":\"truth\",\"choices\":[{\"index\":0,",
                 c->number, c->requests, c->chat ? "chat.completion.chunk" : "text_completion");
    p += c->chat ? sprintf(p, "\"delta\":{%s\"content\":\"%s\"}", role, text)
                 : sprintf(p, "\"text\":\"%s\"", text);
    sprintf(p, ",\"logprobs\":null,\"finish_reason\":%s}]}", finish);
    return put_event(out, data);
}

static int begin_stream(Conn *c) {
    char out[OUT_SIZE];
    size_t n = 0;
    c->streaming = 1, c->headers_sent = c->chunks = c->tokens_sent = 0;
    c->due_ns = c->received_ns + opt.ttft_ns;
    if (opt.lockstep) c->due_ns = (c->due_ns / opt.itl_ns + 1) * opt.itl_ns;
    if (opt.early_headers || opt.role_chunk) n = put_headers(c, out);
    if (opt.role_chunk) n += put_choice(c, out + n, "\"role\":\"assistant\",", "", "null");
    heap_add(c);
    return !n || send_all(c, out, n);
}

static int end_stream(Conn *c) {
    char out[OUT_SIZE], usage[512];
    size_t n = put_choice(c, out, "", "", "\"length\"");
    sprintf(usage, "{\"id\":\"truth-%u-%u\",\"object\":\"%s\",\"created\":1700000000,"
                   "\"model\":\"truth\",\"choices\":[],\"usage\":{\"prompt_tokens\":%d,"
                   "\"completion_tokens\":%d,\"total_tokens\":%d}}",
            c->number, c->requests, c->chat ? "chat.completion.chunk" : "text_completion",
            c->prompt_tokens, c->tokens_sent, c->prompt_tokens + c->tokens_sent);
    n += put_event(out + n, usage);
    n += put_event(out + n, "[DONE]");
    n += sprintf(out + n, "0\r\n\r\n");
    int sent = send_all(c, out, n);
    log_stream(c, "ok");
    heap_remove(c);
    c->streaming = 0;
    return sent && !c->close_after;
}

/* Write the chunk that is due. Returns 0 if the connection is done with. */
static int tick(Conn *c) {
    char out[OUT_SIZE], text[OUT_SIZE / 4], *p = text;
    int n_tokens = c->tokens - c->tokens_sent;
    if (n_tokens > opt.tokens_per_chunk) n_tokens = opt.tokens_per_chunk;
    for (int i = 0; i < n_tokens; i++)
        p += sprintf(p, " %s", words[(c->tokens_sent + i) % (sizeof words / sizeof *words)]);
    const char *role = c->chunks || opt.role_chunk ? "" : "\"role\":\"assistant\",";
    size_t n = put_headers(c, out);
    n += put_choice(c, out + n, role, text, "null");
    if (c->chunks == c->writes_size) {
        c->writes_size = c->writes_size ? 2 * c->writes_size : 256;
        c->writes = realloc(c->writes, c->writes_size * sizeof *c->writes);
    }
    int64_t now = now_ns();
    if (!send_all(c, out, n)) return 0;
    c->writes[c->chunks++] = now - c->received_ns;
    c->tokens_sent += n_tokens;
    if (c->tokens_sent >= c->tokens) return end_stream(c);
    c->due_ns += opt.itl_ns;
    if (c->due_ns <= now) /* never catch up in a burst: a model does not either */
        c->due_ns += opt.lockstep ? (now - c->due_ns) / opt.itl_ns * opt.itl_ns + opt.itl_ns
                                  : now - c->due_ns + opt.itl_ns;
    heap_settle(c->heap_at);
    return 1;
}

/* -- requests --------------------------------------------------------------------------------- */

static int number_after(const char *body, const char *key, int otherwise) {
    const char *p = strstr(body, key);
    if (!p) return otherwise;
    for (p += strlen(key); *p == ' ' || *p == ':'; p++) {}
    return isdigit((unsigned char)*p) ? atoi(p) : otherwise;
}

/* Words inside the strings of the JSON body, an escaped newline being a space too. All but the prompt
 * is the same from request to request, so this rises by one with each word of the prompt. */
static int count_words(const char *p) {
    int n = 0, in_string = 0, in_word = 0;
    for (; *p; p++) {
        int space = *p == ' ' || (*p == '\\' && p[1] == 'n');
        if (*p == '"') in_string = !in_string;
        if (*p == '\\' && p[1]) p++;
        n += in_string && !space && !in_word;
        in_word = in_string && !space;
    }
    return n;
}

static int header(const char *head, const char *name, char *value, size_t size) {
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) || line[n] != ':') continue;
        line += n + 1 + strspn(line + n + 1, " ");
        size_t length = strcspn(line, "\r");
        snprintf(value, size, "%.*s", (int)length, line);
        return 1;
    }
    return 0;
}

static int answer(Conn *c, const char *head, char *body) {
    int post = !strncmp(head, "POST ", 5);
    const char *path = strchr(head, ' ') + 1;
    c->requests++;
    if (!post && !strncmp(path, "/v1/models ", 11))
        return reply(c, "200 OK", "{\"object\":\"list\",\"data\":[{\"id\":\"truth\",\"object\":"
                                  "\"model\",\"created\":1700000000,\"owned_by\":\"truth\"}]}");
    if (!post && !strncmp(path, "/health ", 8)) return reply(c, "200 OK", "{}");
    c->chat = !strncmp(path, "/v1/chat/completions ", 21);
    if (!post || !(c->chat || !strncmp(path, "/v1/completions ", 16)))
        return reply(c, "404 Not Found", "{\"error\":{\"message\":\"no such path\"}}");
    if (!strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true"))
        return reply(c, "400 Bad Request", "{\"error\":{\"message\":\"only streams here\"}}");
    int wanted = number_after(body, "\"max_tokens\"", 0);
    if (!wanted) wanted = number_after(body, "\"max_completion_tokens\"", 16);
    c->tokens = opt.tokens ? opt.tokens : wanted > 0 ? wanted : 1;
    c->prompt_tokens = count_words(body) + 7;
    return begin_stream(c);
}

/* Answer what is in the buffer, one request at a time. Returns 0 if the connection is done with. */
static int serve(Conn *c) {
    while (!c->streaming) {
        char *end = c->in_len ? memmem(c->in, c->in_len, "\r\n\r\n", 4) : NULL, value[64];
        if (!end) return c->in_len < 65536;
        size_t head_len = end + 4 - c->in;
        end[2] = '\0';
        size_t length = header(c->in, "content-length", value, sizeof value) ? strtoul(value, 0, 10) : 0;
        int chunked = header(c->in, "transfer-encoding", value, sizeof value);
        int expects = header(c->in, "expect", value, sizeof value) && !c->continued;
        if (!header(c->in, "x-request-id", c->id, sizeof c->id)) strcpy(c->id, "-");
        for (char *p = c->id; *p; p++)
            if (!isgraph((unsigned char)*p)) *p = '_';
        c->close_after = header(c->in, "connection", value, sizeof value) && !strcasecmp(value, "close");
        if (chunked || length > MAX_BODY || !strchr(c->in, ' '))
            return reply(c, "411 Length Required", "{}"), 0;
        if (c->in_len < head_len + length) {
            end[2] = '\r';
            if (expects && !(c->continued = send_all(c, "HTTP/1.1 100 Continue\r\n\r\n", 25))) return 0;
            return 1;
        }
        char *body = c->in + head_len, next = body[length];
        body[length] = '\0'; /* there is always room for it: see receive */
        c->received_ns = c->stamp_ns, c->continued = 0;
        int kept = answer(c, c->in, body);
        body[length] = next;
        c->in_len -= head_len + length;
        memmove(c->in, body + length, c->in_len);
        if (!kept || (c->close_after && !c->streaming)) return 0;
    }
    return 1;
}

/* Read what has come, with the kernel's stamp of its last byte. Returns 0 at the end. */
static int receive(Conn *c) {
    for (;;) {
        if (c->in_size - c->in_len < 2 * SPARE) {
            if (c->in_size > MAX_BODY) return 0;
            c->in = realloc(c->in, c->in_size = c->in_size ? 2 * c->in_size : 4 * SPARE);
        }
        char control[64];
        struct iovec iov = {c->in + c->in_len, c->in_size - c->in_len - SPARE};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof control};
        ssize_t n = recvmsg(c->fd, &message, 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR;
        if (n == 0) return 0;
        int more = (size_t)n == iov.iov_len;
#ifdef TLS
        if ((n = tls_decrypt(c, iov.iov_base, n, iov.iov_len + SPARE - 1)) < 0) return 0;
#endif
        c->in_len += n;
        c->stamp_ns = now_ns();
        struct cmsghdr *stamp = CMSG_FIRSTHDR(&message);
        if (stamp && stamp->cmsg_level == SOL_SOCKET && stamp->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(stamp), sizeof t);
            c->stamp_ns -= clock_ns(CLOCK_REALTIME) - (t.tv_sec * 1000000000LL + t.tv_nsec);
        }
        if (!more) return 1;
    }
}

static void accept_all(void) {
    for (int fd; (fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        Conn *c = calloc(1, sizeof *c);
        if (fd >= MAX_CONNECTIONS || !c) { close(fd), free(c); continue; }
        c->fd = fd, c->heap_at = -1, c->number = ++connections;
#ifdef TLS
        tls_begin(c);
#endif
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

/* -- start ------------------------------------------------------------------------------------ */

static void stop(int number) { (void)number, stopping = 1; }

static void options(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},       {"ttft-ms", 1, 0, 't'},          {"itl-ms", 1, 0, 'i'},
        {"tokens", 1, 0, 'n'},     {"tokens-per-chunk", 1, 0, 'c'}, {"log", 1, 0, 'l'},
        {"role-chunk", 0, 0, 'r'}, {"early-headers", 0, 0, 'e'},    {"lockstep", 0, 0, 'k'},
        {"certificate", 1, 0, 'C'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 't': opt.ttft_ns = (int64_t)(atof(optarg) * 1e6); break;
        case 'i': opt.itl_ns = (int64_t)(atof(optarg) * 1e6); break;
        case 'n': opt.tokens = atoi(optarg); break;
        case 'c': opt.tokens_per_chunk = atoi(optarg); break;
        case 'r': opt.role_chunk = 1; break;
        case 'e': opt.early_headers = 1; break;
        case 'k': opt.lockstep = 1; break;
#ifdef TLS
        case 'C':
            tls_context = SSL_CTX_new(TLS_server_method());
            if (SSL_CTX_use_certificate_file(tls_context, optarg, SSL_FILETYPE_PEM) == 1 &&
                SSL_CTX_use_PrivateKey_file(tls_context, optarg, SSL_FILETYPE_PEM) == 1) break;
            fprintf(stderr, "%s: no certificate with its key\n", optarg), exit(1);
#endif
        case 'l':
            if ((opt.log = fopen(optarg, "w"))) break;
            perror(optarg), exit(1);
        default:
            fprintf(stderr, "usage: %s [--port 0] [--ttft-ms 200] [--itl-ms 10] [--tokens N (0: the "
                    "request's max_tokens)] [--tokens-per-chunk 1] [--role-chunk] [--early-headers] "
                    "[--lockstep] [--log FILE]\n", argv[0]);
            exit(2);
        }
    if (opt.itl_ns < 1 || opt.tokens_per_chunk < 1 || opt.tokens_per_chunk > 128) exit(2);
}

static void listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(opt.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(listen_fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int)); /* accepted ones inherit it */
    if (bind(listen_fd, (void *)&address, size) || listen(listen_fd, 4096)) perror("listen"), exit(1);
    getsockname(listen_fd, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv) {
    options(argc, argv);
    struct rlimit files = {MAX_CONNECTIONS, MAX_CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL), sigaction(SIGINT, &action, NULL);
    listen_on_loopback();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event);
    while (!stopping) {
        int64_t wait = heap_len ? heap[0]->due_ns - now_ns() : 1000000000;
        if (wait < 0) wait = 0;
        struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        int n = epoll_pwait2(epoll_fd, events, 256, &timeout, NULL);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (!c) accept_all();
            else if (!receive(c) || !serve(c)) drop(c);
        }
        for (int64_t now = now_ns(); heap_len && heap[0]->due_ns <= now;) {
            Conn *c = heap[0];
            if (!tick(c) || (!c->streaming && !serve(c))) drop(c);
        }
    }
    while (heap_len) drop(heap[0]); /* what was under way is logged as open */
    return 0;
}
