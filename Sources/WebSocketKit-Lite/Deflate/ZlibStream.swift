import CZlib
import Synchronization

/// One zlib state, ready for raw DEFLATE data, lent from a small pool.
///
/// A compressor's state is 256 KiB. Where no window is kept between messages, a handful of states serves any number
/// of connections; where one is kept, its connection holds the state until it has been idle for a while.
///
/// `@unchecked Sendable`: whoever was lent a state is its only user until it gives it back.
final class ZlibStream: @unchecked Sendable {
    /// What a state is made for; states of one kind can stand in for each other.
    enum Kind: Hashable, Sendable {
        case deflate(windowBits: Int, level: Int, strategy: Int32)
        case inflate(windowBits: Int)
    }

    /// Idle states kept of each kind: one for each thread that works at the same time.
    private static let maxIdlePerKind = 4
    private static let idle = Mutex<[Kind: [ZlibStream]]>([:])

    let pointer: UnsafeMutablePointer<z_stream>
    private let kind: Kind

    /// Nil where zlib is out of memory.
    private init?(_ kind: Kind) {
        self.kind = kind
        // zlib keeps the address, so the stream must not move.
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: z_stream())
        let result =
            switch kind {
            case .deflate(let windowBits, let level, let strategy):
                CZlib_deflate_init_raw(pointer, Int32(clamping: level), Int32(clamping: windowBits), strategy)
            case .inflate(let windowBits):
                CZlib_inflate_init_raw(pointer, Int32(clamping: windowBits))
            }
        guard result == Z_OK else {
            pointer.deallocate()
            return nil
        }
    }

    deinit {
        switch kind {
        case .deflate: deflateEnd(pointer)
        case .inflate: inflateEnd(pointer)
        }
        pointer.deallocate()
    }

    /// A state as new; nil where zlib is out of memory.
    static func borrow(_ kind: Kind) -> ZlibStream? {
        idle.withLock { $0[kind]?.popLast() } ?? ZlibStream(kind)
    }

    /// Takes a state back, with nothing of what it saw.
    static func giveBack(_ stream: ZlibStream) {
        stream.reset()
        idle.withLock { idle in
            if idle[stream.kind, default: []].count < maxIdlePerKind {
                idle[stream.kind, default: []].append(stream)
            }
        }
    }

    /// Forgets the data seen so far.
    func reset() {
        switch kind {
        case .deflate: deflateReset(pointer)
        case .inflate: inflateReset(pointer)
        }
    }
}
