/// Bytes that were taken for writing and that the system had no room for yet. Empty nearly always, and then without
/// memory.
struct UnsentBytes {
    private var bytes: [UInt8] = []
    private var sentCount = 0

    var count: Int { bytes.count - sentCount }
    var isEmpty: Bool { bytes.isEmpty }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: more)
    }

    /// Sends what there is room for; true when nothing is left.
    mutating func send(over socket: SocketHandle) throws(StreamError) -> Bool {
        while !bytes.isEmpty {
            let sent = try bytes.withUnsafeBufferPointer { buffer throws(StreamError) in
                try socket.trySend(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[sentCount...]))
            }
            guard sent > 0 else { return false }
            sentCount += sent
            if sentCount == bytes.count {
                bytes = []
                sentCount = 0
            }
        }
        return true
    }
}
