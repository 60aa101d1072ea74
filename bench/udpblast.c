/* udpblast.c: sends 64-byte UDP frames as fast as one core can, for a while: udpblast ADDRESS PORT SECONDS.
 * Prints how many it sent, and the processor's seconds that it took. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, PAYLOAD = 22 }; /* 22 + 8 UDP + 20 IP + 14 Ethernet = 64 */

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        return 2;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return 1;
    char payload[PAYLOAD] = {0};
    struct iovec part = {payload, sizeof(payload)};
    struct mmsghdr batch[BATCH];
    memset(batch, 0, sizeof(batch));
    for (int i = 0; i < BATCH; i++) {
        batch[i].msg_hdr.msg_iov = &part;
        batch[i].msg_hdr.msg_iovlen = 1;
    }
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    long long sent = 0;
    do {
        int done = sendmmsg(fd, batch, BATCH, 0);
        if (done > 0)
            sent += done;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 <
             atof(argv[3]));
    printf("%lld %.6f\n", sent, (double)clock() / CLOCKS_PER_SEC);
    return 0;
}
