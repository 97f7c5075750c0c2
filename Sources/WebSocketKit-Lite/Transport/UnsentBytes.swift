/// Bytes that were taken for writing and that the system had no room for yet. Empty nearly always, and then without
/// memory.
///
/// A class, and not `Sendable`, because its stream asks for `count` all the time: a property that is a struct with calls
/// of its own is checked at each look for a call under way.
final class UnsentBytes {
    private(set) var count = 0
    private var bytes: [UInt8] = []
    private var sentCount = 0

    var isEmpty: Bool { count == 0 }

    func append(_ more: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: more)
        count += more.count
    }

    /// Sends what there is room for; true when nothing is left.
    func send(over socket: SocketHandle) throws(StreamError) -> Bool {
        while !isEmpty {
            let sent = try bytes.withUnsafeBufferPointer { buffer throws(StreamError) in
                try socket.trySend(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[sentCount...]))
            }
            guard sent > 0 else { return false }
            sentCount += sent
            count -= sent
            if isEmpty {
                bytes = []
                sentCount = 0
            }
        }
        return true
    }
}
