#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace scenebus::cpu {

/** Memory at a cache line boundary, zeroed; grows by dropping its content. */
template <typename T> class AlignedBuffer {
public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count) { reserve(count); }

  /** Makes room for `count` elements; old content is lost when the room grows. */
  void reserve(std::size_t count) {
    if (count <= mCount)
      return;
    const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    mData.reset(); // before the new allocation, so that both never coexist
    mCount = 0;
    void* memory = std::aligned_alloc(64, bytes);
    if (memory == nullptr)
      throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    mData.reset(static_cast<T*>(memory));
    mCount = count;
  }

  T* data() { return mData.get(); }
  const T* data() const { return mData.get(); }
  std::size_t size() const { return mCount; }
  T& operator[](std::size_t index) { return mData.get()[index]; }
  const T& operator[](std::size_t index) const { return mData.get()[index]; }

private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> mData;
  std::size_t mCount = 0;
};

} // namespace scenebus::cpu
