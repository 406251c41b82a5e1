// The pipe to ffmpeg. Frames go as raw RGB; ffmpeg dying early must not kill the demo, hence SIGPIPE is ignored.
#include "support/animation.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace demo {
namespace {

bool have_ffmpeg() { return std::system("command -v ffmpeg >/dev/null 2>&1") == 0; }

std::string quoted(const std::string& s) {
  std::string out = "'";
  for (char c : s) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

Animation::Animation(std::string path, int width, int height, int frames_a_second)
    : path_(std::move(path)), width_(width), height_(height) {
  if (have_ffmpeg()) {
    std::signal(SIGPIPE, SIG_IGN);
    const std::string size = std::to_string(width) + "x" + std::to_string(height);
    const std::string command = "ffmpeg -loglevel error -y -f rawvideo -pix_fmt rgb24 -s " + size + " -r " +
                                std::to_string(frames_a_second) +
                                " -i - -c:v libx264 -preset fast -crf 18 -pix_fmt yuv420p -movflags +faststart " + quoted(path_ + ".mp4");
    pipe_ = popen(command.c_str(), "w");
  }
  if (!pipe_) {
    std::fprintf(stderr, "no ffmpeg: the frames of %s are written as PNG files\n", path_.c_str());
    std::filesystem::create_directories(path_);
  }
}

Animation::~Animation() {
  if (pipe_) pclose(pipe_);
}

void Animation::add(const Image& frame) {
  if (frame.width() != width_ || frame.height() != height_) throw std::runtime_error("animation: a frame of another size");
  if (pipe_) {
    if (std::fwrite(frame.rgb().data(), 1, frame.rgb().size(), pipe_) != frame.rgb().size())
      throw std::runtime_error("animation: ffmpeg stopped early writing " + path_ + ".mp4");
  } else {
    char name[16];
    std::snprintf(name, sizeof name, "/%04d.png", frames_);
    frame.write_png(path_ + name);
  }
  ++frames_;
}

std::string Animation::finish() {
  if (!pipe_) return path_ + "/0000.png and on";
  if (pclose(std::exchange(pipe_, nullptr)) != 0) throw std::runtime_error("animation: ffmpeg failed on " + path_ + ".mp4");
  return path_ + ".mp4";
}

}  // namespace demo
