/// `/proc/net/dev`: bytes received and sent, summed over all interfaces but loopback.
///
/// ```
/// Inter-|   Receive                                                |  Transmit
///  face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets ...
///   eth0: 1234 10 0 0 0 0 0 0 5678 12 0 0 0 0 0 0
/// ```
/// A large number may stand against the colon without a blank. What crosses a bridge or a tunnel is counted there and
/// on the interface under it, as the kernel does.
struct ProcNetDev: Equatable, Sendable {
    var receivedBytes: UInt64 = 0
    var transmittedBytes: UInt64 = 0

    /// - Throws: `malformed` where a line with an interface's name does not carry its numbers.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        while let line = lines.line() {
            // The headings have no colon. Names may contain one (an alias such as eth0:1), the numbers after it do not.
            guard let colon = line.lastIndex(of: UInt8(ascii: ":")) else { continue }
            let name = line[..<colon].drop { $0 == UInt8(ascii: " ") }
            if name.elementsEqual("lo".utf8) { continue }
            var fields = ByteCursor(line[(colon + 1)...])
            let received = fields.unsigned()
            fields.skip(7)
            guard let received, let transmitted = fields.unsigned() else {
                let interface = String(decoding: name, as: UTF8.self)
                throw .malformed("net/dev", "the line of interface \"\(interface)\" is broken")
            }
            // A driver's counter may be anything; a sum past 64 bits wraps as the counters themselves do.
            receivedBytes &+= received
            transmittedBytes &+= transmitted
        }
    }
}
