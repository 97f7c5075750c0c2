import Glibc
import WireFormat

/// Chooses ports on the loopback interface for bots to listen on.
///
/// They lie below the range from which the kernel takes ports for outgoing connections, so that no connection of some
/// other program sits on a bot's port while the bot restarts.
struct PortReservation: Sendable {
    /// Ports to choose from; nil lets the kernel choose.
    let range: ClosedRange<UInt16>?
    private static let width: UInt16 = 10_000
    private static let lowest: UInt16 = 10_000

    /// - Parameter ephemeral: content of `/proc/sys/net/ipv4/ip_local_port_range`.
    init(ephemeral: [UInt8] = (try? Files.read("/proc/sys/net/ipv4/ip_local_port_range")) ?? []) {
        // Unreadable: as the kernel has it by default.
        let first = ephemeral.split(whereSeparator: { $0 == 0x09 || $0 == 0x20 }).first
        let low = first.flatMap { UInt16(decimal: String(decoding: $0, as: UTF8.self)) } ?? 32_768
        range = low >= Self.lowest + Self.width ? (low - Self.width)...(low - 1) : nil
    }

    /// - Parameters:
    ///   - preferred: taken where it is not 0, not to be avoided and not in use.
    ///   - avoiding: ports of other bots, whether they run or not.
    /// - Throws: `launchFailed` where no port is free.
    func reserve(preferred: UInt16, avoiding: Set<UInt16>) throws(RuntimeError) -> UInt16 {
        if preferred != 0, !avoiding.contains(preferred), Self.bindLoopback(preferred) != nil { return preferred }
        for _ in 0..<64 {
            guard let port = Self.bindLoopback(range.map { UInt16.random(in: $0) } ?? 0) else { continue }
            if !avoiding.contains(port) { return port }
        }
        for _ in 0..<64 {
            guard let port = Self.bindLoopback(0) else { break }
            if !avoiding.contains(port) { return port }
        }
        throw RuntimeError(
            .launchFailed,
            "no free port on 127.0.0.1 for the bot's chat endpoint: \(String(errno: errno))"
        )
    }

    /// The port that could be bound, or nil.
    private static func bindLoopback(_ port: UInt16) -> UInt16? {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        // As servers do: connections of the launch before that linger in TIME_WAIT do not count as "in use".
        var yes: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, length) == 0 && getsockname(socket, $0, &length) == 0
            }
        }
        return isBound ? UInt16(bigEndian: address.sin_port) : nil
    }
}
