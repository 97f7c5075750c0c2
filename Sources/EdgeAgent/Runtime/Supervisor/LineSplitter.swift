import Glibc

/// Cuts a stream of bytes into lines. A line beyond the limit is given up to the limit, the rest is dropped and
/// counted.
struct LineSplitter {
    /// What came out of the stream.
    enum Piece {
        /// A whole line without its newline.
        case line(UnsafeRawBufferPointer)
        /// The beginning of a line that is too long.
        case beginning(UnsafeRawBufferPointer)
        /// The end of a line whose beginning was given before.
        case cut(droppedBytes: Int)
    }

    private let maximumLineBytes: Int
    private var pending: [UInt8] = []
    private var droppedBytes = 0
    private var isDropping = false

    /// A line has begun and not ended.
    var hasPending: Bool { isDropping || !pending.isEmpty }

    init(maximumLineBytes: Int = 1 << 20) {
        self.maximumLineBytes = maximumLineBytes
    }

    /// Takes the next bytes of the stream. The pointers given to `emit` are valid only during the call.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, emit: (Piece) -> Void) {
        var rest = bytes
        while let base = rest.baseAddress, rest.count > 0 {
            guard let newline = memchr(base, 0x0A, rest.count) else {
                keep(rest, emit)
                return
            }
            let length = UnsafeRawPointer(newline) - base
            let line = UnsafeRawBufferPointer(rebasing: rest[..<length])
            if isDropping || !pending.isEmpty || line.count > maximumLineBytes {
                keep(line, emit)
                finish(emit)
            } else {
                emit(.line(line))
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[(length + 1)...])
        }
    }

    /// The stream has ended: a last line without a newline is a line too.
    mutating func end(emit: (Piece) -> Void) {
        if isDropping || !pending.isEmpty { finish(emit) }
    }

    private mutating func keep(_ bytes: UnsafeRawBufferPointer, _ emit: (Piece) -> Void) {
        if isDropping {
            droppedBytes += bytes.count
            return
        }
        let room = maximumLineBytes - pending.count
        pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes.prefix(room)))
        guard bytes.count > room else { return }
        pending.withUnsafeBytes { emit(.beginning($0)) }
        pending = []
        isDropping = true
        droppedBytes = bytes.count - room
    }

    private mutating func finish(_ emit: (Piece) -> Void) {
        if isDropping {
            emit(.cut(droppedBytes: droppedBytes))
            isDropping = false
            droppedBytes = 0
        } else {
            pending.withUnsafeBytes { emit(.line($0)) }
            pending.removeAll(keepingCapacity: pending.capacity <= 64 << 10)
        }
    }
}
