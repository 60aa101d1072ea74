/* flows.c: a datagram each of COUNT flows that nobody has seen before, as fast as it goes: flows ADDRESS PORT
 * SOURCE COUNT.  SOURCE is this end's address; the flows differ by its port, from 10000 on.  Prints
 * nanoseconds a flow. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))}, from = to;
    int count = atoi(argv[4]);
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || inet_pton(AF_INET, argv[3], &from.sin_addr) != 1)
        return 2;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        from.sin_port = htons((uint16_t)(10000 + i));
        if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
            sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1) {
            perror("flows");
            return 1;
        }
        close(fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\n",
           ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / count);
    return 0;
}
