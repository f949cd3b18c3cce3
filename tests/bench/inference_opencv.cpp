/* inference-opencv CFG WEIGHTS SIDE: OpenCV's DNN module beside the others of the bench, in a process
 * of its own, because Darknet's library asks for OpenCV's libraries too and may be given empty ones.
 *
 * Reads a float each of the input once (3 x SIDE x SIDE), then a line "run N" a turn; answers with
 * "ready", and with the milliseconds of N runs. One thread. */
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <vector>

static double now_ms() { /* of the processor, in all threads */
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: inference-opencv CFG WEIGHTS SIDE\n");
        return 2;
    }
    try {
        cv::setNumThreads(1);
        cv::dnn::Net net = cv::dnn::readNetFromDarknet(argv[1], argv[2]);
        net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
        net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
        int side = std::atoi(argv[3]);
        int shape[] = {1, 3, side, side};
        cv::Mat input(4, shape, CV_32F);
        if (std::fread(input.data, sizeof(float), input.total(), stdin) != input.total()) {
            return 1;
        }
        std::vector<cv::Mat> outputs;
        const std::vector<cv::String> names = net.getUnconnectedOutLayersNames();
        std::printf("ready\n");
        std::fflush(stdout);
        int runs;
        while (std::scanf(" run %d", &runs) == 1) {
            double began = now_ms();
            for (int i = 0; i < runs; i++) {
                net.setInput(input);
                net.forward(outputs, names);
            }
            std::printf("%f\n", now_ms() - began);
            std::fflush(stdout);
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "inference-opencv: %s\n", error.what());
        return 1;
    }
    return 0;
}
