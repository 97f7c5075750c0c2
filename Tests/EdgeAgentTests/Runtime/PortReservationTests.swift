import Glibc
import Testing

@testable import EdgeAgent

@Suite struct PortReservationTests {
    @Test("Ports lie below those the kernel gives to outgoing connections; the preferred one is kept while it is free")
    func prefers() throws {
        let reservation = PortReservation(ephemeral: Array("32768\t60999\n".utf8))
        #expect(reservation.range == 22768...32767)
        var taken: Set<UInt16> = []
        for _ in 0..<200 {
            let port = try reservation.reserve(preferred: 0, avoiding: taken)
            #expect(!taken.contains(port) && port < 32768)
            taken.insert(port)
        }
        let port = try reservation.reserve(preferred: 0, avoiding: taken)
        #expect(try reservation.reserve(preferred: port, avoiding: taken) == port)
        #expect(try reservation.reserve(preferred: port, avoiding: [port]) != port)
    }

    @Test("A preferred port on which somebody listens is given up for another")
    func avoidsListeners() throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 1) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        try #require(isListening)
        let port = UInt16(bigEndian: address.sin_port)
        #expect(try PortReservation().reserve(preferred: port, avoiding: []) != port)
    }

    @Test("Where the kernel leaves no room below, it chooses itself")
    func noRoom() throws {
        let reservation = PortReservation(ephemeral: Array("1024\t65535\n".utf8))
        #expect(reservation.range == nil)
        #expect(try reservation.reserve(preferred: 0, avoiding: []) > 0)
    }
}
