import CLinux
import Glibc

/// The memory a process holds and does not need while it waits.
enum ProgramMemory {
    /// Unmaps the code that has run so far, most of it once at the start, and gives back what is free in the heap.
    ///
    /// Code is never written, so its pages are those of the file. What runs again is mapped again, without reading the
    /// disk as long as the file is cached.
    static func giveBack() {
        CLinux_trim_heap()
        for line in (PseudoFile.read("/proc/self/maps") ?? []).split(separator: UInt8(ascii: "\n")) {
            // begin-end r-xp offset device inode path
            let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: true)
            guard fields.count == 6, fields[1].elementsEqual("r-xp".utf8), fields[5].first == UInt8(ascii: "/") else {
                continue
            }
            let ends = fields[0].split(separator: UInt8(ascii: "-")).compactMap {
                UInt(String(decoding: $0, as: UTF8.self), radix: 16)
            }
            guard ends.count == 2, ends[0] < ends[1] else { continue }
            madvise(UnsafeMutableRawPointer(bitPattern: ends[0]), Int(clamping: ends[1] - ends[0]), MADV_DONTNEED)
        }
    }
}
