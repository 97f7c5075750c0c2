/// Frames that wait to be written, in order.
///
/// Small frames gather in one buffer, so that many of them leave with one write. A large payload is kept as the caller
/// gave it and is copied, masked on the way, only when `fill` is asked for bytes: at most a buffer's worth ahead of
/// the transport.
struct OutgoingFrames: Sendable {
    /// Bytes that are ready, followed by a payload that is still to be masked.
    private struct Segment: Sendable {
        var ready: [UInt8]
        var payload: [UInt8]
        var maskingKey: UInt32?

        var byteCount: Int { ready.count + payload.count }
    }

    /// Payloads from this size on are not copied ahead of time.
    private static let largePayloadBytes = 4096

    private var segments = FIFO<Segment>()
    /// Frames behind the last segment.
    private var tail: [UInt8] = []
    /// Bytes already taken of the first segment, or of `tail` where there is no segment.
    private var takenBytes = 0

    /// Bytes that wait.
    private(set) var byteCount = 0

    var isEmpty: Bool { byteCount == 0 }

    /// Adds a frame whose payload is copied now.
    mutating func append(_ header: FrameHeader, copying payload: UnsafeRawBufferPointer) {
        let before = tail.count
        FrameSerializer.append(header, payload: payload, to: &tail)
        byteCount += tail.count - before
    }

    /// Adds a frame whose payload may be kept.
    mutating func append(_ header: FrameHeader, payload: [UInt8]) {
        guard payload.count >= Self.largePayloadBytes else {
            payload.withUnsafeBytes { append(header, copying: $0) }
            return
        }
        let before = tail.count
        FrameSerializer.append(header, to: &tail)
        byteCount += tail.count - before + payload.count
        var ready: [UInt8] = []
        if segments.isEmpty, takenBytes > 0 {
            // What was taken was taken from `tail`, which becomes the first segment's.
            ready = Array(tail[takenBytes...])
            takenBytes = 0
        } else {
            swap(&ready, &tail)
        }
        segments.append(Segment(ready: ready, payload: payload, maskingKey: header.maskingKey))
        tail.removeAll(keepingCapacity: true)
    }

    /// Moves the next bytes to `target`, as many as fit, and returns how many.
    mutating func fill(_ target: UnsafeMutableRawBufferPointer) -> Int {
        guard let base = target.baseAddress else { return 0 }
        var filled = 0
        while filled < target.count {
            guard let segment = segments.first else {
                let count = min(target.count - filled, tail.count - takenBytes)
                tail.withUnsafeBytes { bytes in
                    guard let source = bytes.baseAddress, count > 0 else { return }
                    (base + filled).copyMemory(from: source + takenBytes, byteCount: count)
                }
                filled += count
                takenBytes += count
                if takenBytes == tail.count {
                    tail.removeAll(keepingCapacity: true)
                    takenBytes = 0
                }
                break
            }
            let count = Self.copy(segment, from: takenBytes, to: base + filled, room: target.count - filled)
            filled += count
            takenBytes += count
            if takenBytes == segment.byteCount {
                _ = segments.popFirst()
                takenBytes = 0
            }
        }
        byteCount -= filled
        return filled
    }

    /// Everything that waits.
    mutating func takeAll() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            count = fill(UnsafeMutableRawBufferPointer(buffer))
        }
    }

    /// Forgets everything, and the memory it was in.
    mutating func removeAll() {
        self = OutgoingFrames()
    }

    /// Gives back memory that only a busy connection needs.
    mutating func releaseIdleMemory() {
        if isEmpty { removeAll() }
    }

    private static func copy(_ segment: Segment, from start: Int, to target: UnsafeMutableRawPointer, room: Int) -> Int
    {
        var copied = 0
        let readyBytes = min(room, segment.ready.count - start)
        if readyBytes > 0 {
            segment.ready.withUnsafeBytes { bytes in
                let part = UnsafeRawBufferPointer(rebasing: bytes[start..<(start + readyBytes)])
                UnsafeMutableRawBufferPointer(start: target, count: readyBytes).copyMemory(from: part)
            }
            copied = readyBytes
        }
        let offset = start + copied - segment.ready.count
        let payloadBytes = min(room - copied, segment.payload.count - offset)
        guard offset >= 0, payloadBytes > 0 else { return copied }
        segment.payload.withUnsafeBytes { bytes in
            let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + payloadBytes)])
            if let key = segment.maskingKey {
                Masking.copy(part, to: target + copied, key: key, offset: offset)
            } else {
                UnsafeMutableRawBufferPointer(start: target + copied, count: payloadBytes).copyMemory(from: part)
            }
        }
        return copied + payloadBytes
    }
}
