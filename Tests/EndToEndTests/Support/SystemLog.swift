import Foundation
import Glibc

/// What a program tells syslog: it has a `/dev` of its own, in which the test listens at `log`.
final class SystemLog {
    private let devices: URL
    private let socket: Int32

    init(in folder: URL) throws {
        devices = folder.appending(path: "dev-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: devices, withIntermediateDirectories: true)
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = devices.appending(path: "log").path
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw Failure("cannot listen at \(path): \(String(cString: strerror(errno)))") }
    }

    deinit { close(socket) }

    /// Starts one of our programs as a user who may not raise priorities, as everybody but root is.
    func start(_ executable: String, _ arguments: [String], environment: [String: String] = [:]) throws -> Program {
        let script = """
            touch "$1/null" && mount --bind /dev/null "$1/null" && mount --rbind "$1" /dev && shift && exec "$@"
            """
        return try Program(
            "/usr/bin/unshare",
            ["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", devices.path]
                + [Program.binaries.appending(path: executable).path] + arguments,
            environment: environment,
            in: devices.deletingLastPathComponent()
        )
    }

    /// Those that have come since this was asked last.
    func takeMessages() -> [String] {
        var messages: [String] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            guard count > 0 else { return messages }
            messages.append(String(decoding: buffer.prefix(count), as: UTF8.self))
        }
    }
}
