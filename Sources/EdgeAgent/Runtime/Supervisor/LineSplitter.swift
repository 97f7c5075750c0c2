import Glibc

/// Cuts a stream of bytes into lines. A line beyond the limit is given up to the limit, the rest is dropped and
/// counted.
///
/// A line ends at a newline, also with carriage returns in front of it, and at carriage returns alone, as progress bars
/// end theirs. Such a line keeps one at its end: a terminal would write what comes next over it. What returns end whether or not
/// a newline follows is known only with the next byte, so the newest line of a progress bar comes with the next.
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

    private static let newline = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")

    private let maximumLineBytes: Int
    /// Lines that begin with it end at a newline only: in JSON a carriage return is white space.
    private let wholeLinePrefix: [UInt8]
    private var pending: [UInt8] = []
    private var droppedBytes = 0
    private var isDropping = false
    /// Carriage returns came; the next byte tells what they are.
    private var hasReturned = false
    /// The line is known to begin with `wholeLinePrefix`.
    private var isWhole = false

    /// A line has begun and not ended.
    var hasPending: Bool { isDropping || !pending.isEmpty }

    init(maximumLineBytes: Int = 1 << 20, wholeLinePrefix: [UInt8] = []) {
        self.maximumLineBytes = maximumLineBytes
        self.wholeLinePrefix = wholeLinePrefix
    }

    /// Takes the next bytes of the stream. The pointers given to `emit` are valid only during the call.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, emit: (Piece) -> Void) {
        var rest = bytes
        while let base = rest.baseAddress, rest.count > 0 {
            if hasReturned {
                let next = rest[0]
                if next != Self.carriageReturn {
                    hasReturned = false
                    finish(isReturn: next != Self.newline, emit)
                }
                if next == Self.newline || next == Self.carriageReturn {
                    rest = UnsafeRawBufferPointer(rebasing: rest[1...])
                }
                continue
            }
            let newline = memchr(base, Int32(clamping: Self.newline), rest.count).map { UnsafeRawPointer($0) - base }
            let length = newline ?? rest.count
            if let found = memchr(base, Int32(clamping: Self.carriageReturn), length), !isWholeLine(rest) {
                let place = UnsafeRawPointer(found) - base
                keep(UnsafeRawBufferPointer(rebasing: rest[..<place]), emit)
                hasReturned = true
                rest = UnsafeRawBufferPointer(rebasing: rest[(place + 1)...])
                continue
            }
            let line = UnsafeRawBufferPointer(rebasing: rest[..<length])
            guard newline != nil else { return keep(line, emit) }
            if isDropping || !pending.isEmpty || line.count > maximumLineBytes {
                keep(line, emit)
                finish(isReturn: false, emit)
            } else {
                isWhole = false
                emit(.line(line))
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[(length + 1)...])
        }
    }

    /// The stream has ended: a last line without a newline is a line too.
    mutating func end(emit: (Piece) -> Void) {
        hasReturned = false
        if isDropping || !pending.isEmpty { finish(isReturn: false, emit) }
    }

    /// Whether the line that `rest` goes on with begins with `wholeLinePrefix`.
    private mutating func isWholeLine(_ rest: UnsafeRawBufferPointer) -> Bool {
        guard !wholeLinePrefix.isEmpty, !isWhole, !isDropping else { return isWhole }
        let inPending = min(pending.count, wholeLinePrefix.count)
        isWhole =
            pending.prefix(inPending).elementsEqual(wholeLinePrefix.prefix(inPending))
            && rest.prefix(wholeLinePrefix.count - inPending).elementsEqual(wholeLinePrefix.dropFirst(inPending))
        return isWhole
    }

    private mutating func keep(_ bytes: UnsafeRawBufferPointer, _ emit: (Piece) -> Void) {
        if isDropping {
            droppedBytes += bytes.count
            return
        }
        let room = maximumLineBytes - pending.count
        // What is cut off must not take with it which kind of line this is.
        if bytes.count > room { _ = isWholeLine(bytes) }
        pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes.prefix(room)))
        guard bytes.count > room else { return }
        pending.withUnsafeBytes { emit(.beginning($0)) }
        pending = []
        isDropping = true
        droppedBytes = bytes.count - room
    }

    /// - Parameter isReturn: the line ended at carriage returns alone. An empty one is none: nothing was written over.
    private mutating func finish(isReturn: Bool, _ emit: (Piece) -> Void) {
        isWhole = false
        if isDropping {
            emit(.cut(droppedBytes: droppedBytes))
            isDropping = false
            droppedBytes = 0
        } else if !isReturn || !pending.isEmpty {
            if isReturn { pending.append(Self.carriageReturn) }
            pending.withUnsafeBytes { emit(.line($0)) }
            pending.removeAll(keepingCapacity: pending.capacity <= 64 << 10)
        }
    }
}
