import Glibc

/// Literal IP addresses.
enum IPAddress {
    static func isIPv4(_ text: String) -> Bool {
        var address = in_addr()
        return inet_pton(AF_INET, text, &address) == 1
    }

    static func isIPv6(_ text: String) -> Bool {
        var address = in6_addr()
        return inet_pton(AF_INET6, text, &address) == 1
    }

    static func isLiteral(_ text: String) -> Bool { isIPv4(text) || isIPv6(text) }

    /// The 4 or 16 bytes of an address; nil for a name.
    static func bytes(_ text: String) -> [UInt8]? {
        SocketAddress(literal: text, port: 0)?.addressBytes
    }

    /// 127.0.0.0/8 and ::1.
    static func isLoopback(_ text: String) -> Bool {
        SocketAddress(literal: text, port: 0)?.isLoopback ?? false
    }
}

/// An IPv4 or IPv6 address with a port.
struct SocketAddress: Sendable, CustomStringConvertible {
    private var storage: sockaddr_storage
    private let byteCount: socklen_t

    /// Copies an address the system made; nil for families other than IP.
    init?(_ address: UnsafePointer<sockaddr>, byteCount: socklen_t) {
        guard address.pointee.sa_family == sa_family_t(AF_INET) || address.pointee.sa_family == sa_family_t(AF_INET6),
            Int(clamping: byteCount) <= MemoryLayout<sockaddr_storage>.size
        else { return nil }
        storage = sockaddr_storage()
        withUnsafeMutableBytes(of: &storage) { target in
            target.copyMemory(from: UnsafeRawBufferPointer(start: address, count: Int(clamping: byteCount)))
        }
        self.byteCount = byteCount
    }

    /// Parses an address; nil when `text` is a name.
    init?(literal text: String, port: Int) {
        storage = sockaddr_storage()
        var v4 = sockaddr_in()
        var v6 = sockaddr_in6()
        if inet_pton(AF_INET, text, &v4.sin_addr) == 1 {
            v4.sin_family = sa_family_t(AF_INET)
            v4.sin_port = in_port_t(port).bigEndian
            byteCount = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutableBytes(of: &storage) { target in
                withUnsafeBytes(of: &v4) { target.copyMemory(from: $0) }
            }
        } else if inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 {
            v6.sin6_family = sa_family_t(AF_INET6)
            v6.sin6_port = in_port_t(port).bigEndian
            byteCount = socklen_t(MemoryLayout<sockaddr_in6>.size)
            withUnsafeMutableBytes(of: &storage) { target in
                withUnsafeBytes(of: &v6) { target.copyMemory(from: $0) }
            }
        } else {
            return nil
        }
    }

    var family: Int32 { Int32(clamping: storage.ss_family) }

    /// Calls `body` with the address as the socket calls want it.
    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, byteCount) }
        }
    }

    /// The 4 or 16 bytes of the address itself.
    var addressBytes: [UInt8] {
        withUnsafeBytes(of: storage) { Array(family == AF_INET ? $0[4..<8] : $0[8..<24]) }
    }

    /// 127.0.0.0/8, ::1, and the former mapped into the latter's family.
    var isLoopback: Bool {
        let address = addressBytes
        if family == AF_INET { return address[0] == 127 }
        return address == [UInt8](repeating: 0, count: 15) + [1]
            || address.starts(with: [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF, 127])
    }

    /// The address as text, without the port and without brackets.
    var hostDescription: String { texts.host }

    /// Address and port as text.
    var description: String {
        let (host, port) = texts
        return (family == AF_INET6 ? "[\(host)]" : host) + ":" + port
    }

    private var texts: (host: String, port: String) {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var port = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        let failure = withPointer { pointer, length in
            getnameinfo(
                pointer,
                length,
                &host,
                socklen_t(host.count),
                &port,
                socklen_t(port.count),
                NI_NUMERICHOST | NI_NUMERICSERV
            )
        }
        guard failure == 0 else { return ("?", "?") }
        return (String(nullTerminated: host), String(nullTerminated: port))
    }
}

extension String {
    /// Text in a C buffer up to its first zero.
    init(nullTerminated buffer: [CChar]) {
        self.init(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// The system's words for an error number.
    init(systemError number: Int32) {
        var buffer = [CChar](repeating: 0, count: 128)
        let failure = strerror_r(number, &buffer, buffer.count)
        self = failure == 0 ? String(nullTerminated: buffer) : "error \(number)"
    }
}
