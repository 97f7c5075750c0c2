import CZlib

/// Inflates the messages of one direction (RFC 7692 §7.2.2).
///
/// `@unchecked Sendable`: belongs to one `ConnectionMachine`, whose owner calls it from one place at a time.
final class Inflater: @unchecked Sendable {
    /// Why a message cannot be inflated.
    enum Failure: Error, Equatable {
        /// It has more bytes than the limit. Found as soon as the limit is passed, however little came over the wire.
        case tooLong
        /// It is no DEFLATE data; the text is for people.
        case corrupt(String)
    }

    /// Room made for output at once.
    private static let outputBytes = 512...(64 * 1024)

    private let windowBits: Int
    private let takesOver: Bool
    private var stream: ZlibStream?
    /// The end of what was inflated before the state was given back; the peer may refer to it.
    private var window: [UInt8] = []
    /// The data so far ended with a block that said it was the last (BFINAL), and nothing came after.
    private var isAtStreamEnd = false

    /// - Parameter takesOver: Whether a message may refer to what stood in earlier ones.
    init(windowBits: Int, takesOver: Bool) {
        self.windowBits = windowBits
        self.takesOver = takesOver
    }

    /// Inflates a part of a message and appends the outcome to `output`, which may grow to `maxBytes`.
    func inflate(
        _ part: UnsafeRawBufferPointer,
        into output: inout [UInt8],
        maxBytes: Int
    ) throws(Failure) {
        // zlib counts in 32 bits.
        var rest = part
        while !rest.isEmpty {
            let step = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            try run(step, into: &output, maxBytes: maxBytes)
            rest = UnsafeRawBufferPointer(rebasing: rest[step.count...])
        }
    }

    /// The message is complete: puts back the mark the sender has cut off, and inflates what that brings out.
    func finishMessage(into output: inout [UInt8], maxBytes: Int) throws(Failure) {
        if !isAtStreamEnd {
            try Deflater.flushMark.withUnsafeBufferPointer { mark throws(Failure) in
                try run(UnsafeRawBufferPointer(mark), into: &output, maxBytes: maxBytes)
            }
            // Bit 7 says that a block has just ended; in the middle of one the message was cut off.
            if let stream, !isAtStreamEnd, stream.pointee.data_type & 128 == 0 {
                throw .corrupt("it ends within a block")
            }
        }
        isAtStreamEnd = false
        if !takesOver { drop() }
    }

    /// Gives the state back and keeps only the window, as much of it as was ever filled.
    func releaseIdleMemory() {
        guard let stream else { return }
        window = Self.window(of: stream)
        drop()
    }

    private func drop() {
        if let stream { ZlibStream.giveBack(stream) }
        stream = nil
    }

    private func makeStream() throws(Failure) -> ZlibStream {
        if let stream { return stream }
        guard let new = ZlibStream.borrow(.inflate(windowBits: windowBits)) else {
            throw .corrupt("zlib is out of memory")
        }
        if !window.isEmpty {
            inflateSetDictionary(new.pointer, window, UInt32(clamping: window.count))
            window = []
        }
        stream = new
        return new
    }

    private func run(
        _ input: UnsafeRawBufferPointer,
        into output: inout [UInt8],
        maxBytes: Int
    ) throws(Failure) {
        let stream = try makeStream()
        let zlib = stream.pointer
        // zlib does not write to its input; its type only lacks the word for that.
        zlib.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        zlib.pointee.avail_in = UInt32(clamping: input.count)
        defer {
            zlib.pointee.next_in = nil
            zlib.pointee.next_out = nil
        }
        var room = min(max(input.count * 4, Self.outputBytes.lowerBound), Self.outputBytes.upperBound)
        while true {
            // One byte more than the limit allows, so that reaching it can be told from passing it.
            let step = min(room, maxBytes - output.count + 1)
            var result = Z_OK
            output.append(addingCapacity: step) { span in
                span.withUnsafeMutableBufferPointer { buffer, initializedCount in
                    zlib.pointee.next_out = buffer.baseAddress
                    zlib.pointee.avail_out = UInt32(clamping: step)
                    result = CZlib.inflate(zlib, Z_SYNC_FLUSH)
                    initializedCount += step - Int(clamping: zlib.pointee.avail_out)
                }
            }
            guard output.count <= maxBytes else { throw .tooLong }
            switch result {
            case Z_STREAM_END:
                isAtStreamEnd = true
                // Another stream may follow in the same message, and refer to this one (RFC 7692 §7.2.3.5). The window stays
                // where it is: copied each time, an empty stream of two bytes would cost 64 KiB.
                inflateResetKeep(zlib)
            case Z_OK:
                isAtStreamEnd = false
            case Z_BUF_ERROR:
                break  // No progress was possible, so nothing has changed.
            default:
                throw .corrupt(zlib.pointee.msg.map { String(cString: $0) } ?? "zlib error \(result)")
            }
            if zlib.pointee.avail_in == 0, zlib.pointee.avail_out > 0 { return }
            guard result != Z_BUF_ERROR || zlib.pointee.avail_out == 0 else { return }
            room = Self.outputBytes.upperBound
        }
    }

    private static func window(of stream: ZlibStream) -> [UInt8] {
        var length: UInt32 = 0
        inflateGetDictionary(stream.pointer, nil, &length)
        return [UInt8](unsafeUninitializedCapacity: Int(clamping: length)) { buffer, count in
            inflateGetDictionary(stream.pointer, buffer.baseAddress, &length)
            count = Int(clamping: length)
        }
    }

    deinit {
        drop()
    }
}

extension ZlibStream {
    fileprivate var pointee: z_stream { pointer.pointee }
}
