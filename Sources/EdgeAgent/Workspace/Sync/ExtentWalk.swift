import CLinux
import Glibc

/// Where a file holds data and where it holds nothing.
struct ExtentWalk {
    enum Extent: Equatable {
        case data(UInt64)
        case hole(UInt64)
    }

    private let descriptor: Int32
    private let size: UInt64
    private var offset: UInt64 = 0
    private var dataEnd: UInt64
    private var isStopped = false

    /// - Parameter isSparse: whether it is worth asking the file system.
    init(_ descriptor: Int32, size: UInt64, isSparse: Bool) {
        self.descriptor = descriptor
        self.size = size
        dataEnd = isSparse ? 0 : size
    }

    var isAtEnd: Bool { isStopped || offset >= size }

    mutating func stop() { isStopped = true }

    /// The next piece, data at most `limit` bytes long; nil at the end.
    mutating func next(atMost limit: UInt64) -> Extent? {
        guard !isAtEnd else { return nil }
        if offset >= dataEnd {
            let next = CLinux_next_data(descriptor, Int64(clamping: offset))
            // ENXIO: only a hole is left. Any other failure: the file system does not tell, so all is data.
            let data = next >= 0 ? min(UInt64(clamping: next), size) : errno == ENXIO ? size : offset
            if data > offset {
                let hole = data - offset
                offset = data
                return .hole(hole)
            }
            let end = CLinux_next_hole(descriptor, Int64(clamping: offset))
            dataEnd = end > Int64(clamping: offset) ? min(UInt64(clamping: end), size) : size
        }
        let count = min(dataEnd - offset, limit)
        offset += count
        return .data(count)
    }
}
