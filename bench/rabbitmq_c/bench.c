/* One job on rabbitmq-c, one JSON line: the C program beside the Python clients.
 *
 * bench URL KIND QUEUE EXCHANGE MESSAGES BODY IN_FLIGHT ACK PREFETCH HEARTBEAT CHANNELS HELD PEER
 *
 * bench/jobs.py says what a job is and what is inside the measured time; clients/rabbitmq_c.py
 * starts this program. Publishing uses amqp_basic_publish, consuming amqp_consume_message, as in
 * the library's own examples. */

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHANNEL 1

static amqp_connection_state_t connection;
static int channels; /* numbered from CHANNEL */

static void fail(const char *what, const char *why) {
  fprintf(stderr, "rabbitmq-c: %s: %s\n", what, why);
  exit(1);
}

static void check_status(int status, const char *what) {
  if (status != AMQP_STATUS_OK) fail(what, amqp_error_string2(status));
}

static void check_reply(amqp_rpc_reply_t reply, const char *what) {
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
    fail(what, amqp_error_string2(reply.library_error));
  fail(what, amqp_method_name(reply.reply.id));
}

static double clock_of(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void declare(amqp_bytes_t queue) {
  amqp_queue_declare(connection, CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
  check_reply(amqp_get_rpc_reply(connection), "queue.declare");
  amqp_maybe_release_buffers(connection);
}

static void publish(int channel, amqp_bytes_t exchange, amqp_bytes_t body) {
  check_status(amqp_basic_publish(connection, channel, exchange, amqp_empty_bytes, 0, 0, NULL, body),
               "basic.publish");
}

/* Waits for one frame; returns the highest delivery tag confirmed so far. */
static uint64_t wait_confirm(uint64_t confirmed) {
  amqp_frame_t frame;
  amqp_maybe_release_buffers(connection);
  check_status(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD) return confirmed;
  if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
    fail("waiting for a confirm", amqp_method_name(frame.payload.method.id));
  return ((amqp_basic_ack_t *)frame.payload.method.decoded)->delivery_tag;
}

static void publish_confirmed(amqp_bytes_t exchange, amqp_bytes_t body, uint64_t messages,
                              uint64_t in_flight) {
  /* RabbitMQ may confirm out of order; without bound queues it does not, and a tag covers all
   * before it. */
  uint64_t confirmed = 0;
  for (uint64_t sent = 1; sent <= messages; sent++) {
    publish(CHANNEL, exchange, body);
    while (sent - confirmed >= in_flight) confirmed = wait_confirm(confirmed);
  }
  while (confirmed < messages) confirmed = wait_confirm(confirmed);
}

static void subscribe(amqp_bytes_t queue, int ack) {
  for (int channel = CHANNEL; channel < CHANNEL + channels; channel++) {
    amqp_basic_consume(connection, channel, queue, amqp_empty_bytes, 0, !ack, 0, amqp_empty_table);
    check_reply(amqp_get_rpc_reply(connection), "basic.consume");
  }
}

static void take(uint64_t messages, size_t size, int ack) {
  for (uint64_t seen = 0; seen < messages; seen++) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(connection);
    check_reply(amqp_consume_message(connection, &envelope, NULL, 0), "basic.deliver");
    if (envelope.message.body.len != size) fail("basic.deliver", "wrong size of body");
    if (ack)
      check_status(amqp_basic_ack(connection, envelope.channel, envelope.delivery_tag, 0),
                   "basic.ack");
    amqp_destroy_envelope(&envelope);
  }
}

/* Bytes of resident memory by its name in /proc/self/status, or -1. */
static long memory(const char *name) {
  char line[256];
  long kib = -1;
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status))
    if (!strncmp(line, name, strlen(name))) kib = atol(strchr(line, ':') + 1);
  if (status) fclose(status);
  return kib < 0 ? -1 : kib * 1024;
}

static void reset_peak(void) {
  FILE *clear = fopen("/proc/self/clear_refs", "w");
  if (clear) {
    fputs("5", clear);
    fclose(clear);
  }
}

static void open_connection(char *url, int heartbeat) {
  struct amqp_connection_info info;
  check_status(amqp_parse_url(url, &info), "URL");
  connection = amqp_new_connection();
  amqp_socket_t *socket = connection ? amqp_tcp_socket_new(connection) : NULL;
  if (!socket) fail("connection", "out of memory");
  check_status(amqp_socket_open(socket, info.host, info.port), "connect");
  check_reply(amqp_login(connection, info.vhost, 0, 131072, heartbeat, AMQP_SASL_METHOD_PLAIN,
                         info.user, info.password),
              "login");
}

int main(int argc, char **argv) {
  if (argc != 14) fail("arguments", "see the top of bench.c");
  const char *kind = argv[2];
  amqp_bytes_t queue = amqp_cstring_bytes(argv[3]);
  amqp_bytes_t exchange = amqp_cstring_bytes(argv[4]);
  uint64_t messages = strtoull(argv[5], NULL, 10);
  size_t size = strtoull(argv[6], NULL, 10);
  uint64_t in_flight = strtoull(argv[7], NULL, 10);
  int ack = atoi(argv[8]);
  uint64_t held = strtoull(argv[12], NULL, 10);
  int peer = atoi(argv[13]);
  channels = atoi(argv[11]) > 1 ? atoi(argv[11]) : 1;
  amqp_bytes_t body = amqp_bytes_malloc(size ? size : 1);
  body.len = size;
  memset(body.bytes, 'x', size);

  open_connection(argv[1], atoi(argv[10]));
  for (int channel = CHANNEL; channel < CHANNEL + channels; channel++) {
    amqp_channel_open(connection, channel);
    check_reply(amqp_get_rpc_reply(connection), "channel.open");
    amqp_basic_qos(connection, channel, 0, (uint16_t)atoi(argv[9]), 0);
    check_reply(amqp_get_rpc_reply(connection), "basic.qos");
  }
  if (!strcmp(kind, "confirm")) {
    amqp_confirm_select(connection, CHANNEL);
    check_reply(amqp_get_rpc_reply(connection), "confirm.select");
  }
  if (peer && !strcmp(kind, "consume")) {
    subscribe(queue, ack);
    if (held) {
      declare(queue);
      take(held, size, 0);
    }
  }

  reset_peak();
  long start = memory("VmRSS");
  double wall = clock_of(CLOCK_MONOTONIC);
  double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
  if (!strcmp(kind, "publish")) {
    for (uint64_t i = 0; i < messages; i++) publish(CHANNEL + (int)(i % channels), exchange, body);
  } else if (!strcmp(kind, "confirm")) {
    publish_confirmed(exchange, body, messages, in_flight);
  } else if (!strcmp(kind, "consume")) {
    if (peer)
      declare(queue);
    else
      subscribe(queue, ack);
    take(messages, size, ack);
  } else if (!strcmp(kind, "roundtrip")) {
    for (uint64_t i = 0; i < messages; i++) declare(queue);
  } else {
    fail("no such kind of job", kind);
  }
  declare(queue);
  cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  wall = clock_of(CLOCK_MONOTONIC) - wall;
  printf("{\"version\": \"%s\", \"detail\": \"\", \"wall\": %.9f, \"cpu\": %.9f, ",
         amqp_version(), wall, cpu);
  printf("\"memory\": %ld}\n", start < 0 ? 0 : memory("VmHWM") - start);

  amqp_bytes_free(body);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  return 0;
}
