#include "file_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "failure.h"
#include "sha256.h"

namespace farm {
namespace {

constexpr std::size_t kBlock = 4u << 20;

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

}  // namespace

std::string hash_of(const Check& check, const std::function<void()>& each) {
  const Descriptor file{open(check.path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (file.number < 0 || fstat(file.number, &info) != 0) {
    throw Failure(failure_class::kModelMissing, "the file " + check.path + " cannot be opened: " + std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) throw Failure(failure_class::kModelInvalid, check.path + " is not a file");
  if (info.st_size != check.bytes) {
    throw Failure(failure_class::kModelInvalid, check.path + " has " + std::to_string(info.st_size) + " bytes, not " +
                                                    std::to_string(check.bytes));
  }
  Sha256 sum;
  std::vector<unsigned char> block(kBlock);
  for (std::int64_t taken = 0; taken < check.bytes;) {
    const ssize_t count = read(file.number, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw Failure(failure_class::kModelInvalid, check.path + " cannot be read beyond byte " + std::to_string(taken) + ": " +
                                                      (count < 0 ? std::strerror(errno) : "it ends before"));
    }
    sum.update(block.data(), static_cast<std::size_t>(count));
    taken += count;
    each();
  }
  return sum.finish();
}

}  // namespace farm
