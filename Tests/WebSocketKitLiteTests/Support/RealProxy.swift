import Foundation
import Glibc

/// A proxy program from the distribution, on a free port of this machine until the object is let go.
final class RealProxy: Sendable {
    enum Program: String, Sendable, CaseIterable {
        case tinyproxy, squid, microsocks, danted

        /// Where the program lies; nil where it is not installed.
        var path: String? {
            ["/usr/bin/", "/usr/sbin/"].map { $0 + rawValue }.first { access($0, X_OK) == 0 }
        }

        var scheme: String { self == .tinyproxy || self == .squid ? "http" : "socks5" }
    }

    static let user = "ada"
    /// Of characters that tinyproxy's configuration can hold.
    static let password = "s3cret-word"
    /// The same as a URL may have it.
    static let userInformation = "ada:s3cret%2Dword"

    let program: Program
    let port: Int
    private let reserved: ReservedPort
    private let process: ChildProcess
    private let directory: URL

    /// - Parameters:
    ///   - wantsLogin: Whether it lets in only `user` with `password`.
    ///   - lines: Added to its configuration.
    init(_ program: Program, wantsLogin: Bool = false, lines: [String] = []) throws {
        guard let path = program.path else { throw CommandFailure(text: "\(program) is not installed") }
        self.program = program
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("proxy-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        reserved = try ReservedPort()
        port = reserved.port
        let file = directory.appendingPathComponent("conf").path
        var arguments: [String]
        var configuration: [String] = []
        switch program {
        case .tinyproxy:
            configuration = ["Port \(port)", "Listen 127.0.0.1", "Timeout 60"]
            if wantsLogin { configuration.append("BasicAuth \(Self.user) \(Self.password)") }
            arguments = [path, "-d", "-c", file]
        case .squid:
            configuration = [
                "http_port 127.0.0.1:\(port)", "pid_filename none", "cache deny all", "access_log none",
                "cache_log /dev/null", "shutdown_lifetime 0 seconds", "coredump_dir \(directory.path)",
            ]
            if wantsLogin {
                let helper = directory.appendingPathComponent("login").path
                // The helper squid brings wants hashed passwords; this one compares.
                let script = """
                    #!/bin/sh
                    while read -r user password; do
                        [ "$user:$password" = "\(Self.user):\(Self.password)" ] && echo OK || echo ERR
                    done
                    """
                try script.write(toFile: helper, atomically: true, encoding: .utf8)
                chmod(helper, 0o644)
                chmod(directory.path, 0o755)
                configuration += [
                    "auth_param basic program /bin/sh \(helper)", "auth_param basic children 1 startup=1",
                    "acl known proxy_auth REQUIRED", "http_access allow known",
                ]
            } else {
                configuration.append("http_access allow all")
            }
            // A name of its own, for squids share memory by it.
            arguments = [path, "-N", "-n", "test\(port)", "-f", file]
        case .microsocks:
            arguments = [path, "-i", "127.0.0.1", "-p", "\(port)"]
            if wantsLogin { arguments += ["-u", Self.user, "-P", Self.password] }
        case .danted:
            configuration = [
                "logoutput: /dev/null", "internal: 127.0.0.1 port = \(port)", "external: lo", "clientmethod: none",
                "socksmethod: none", "user.unprivileged: nobody",
                "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }", "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }",
            ]
            arguments = [path, "-f", file]
        }
        try (configuration + lines).joined(separator: "\n").appending("\n")
            .write(toFile: file, atomically: true, encoding: .utf8)
        process = try ChildProcess(arguments, directory: directory.path)
        try waitUntilItListens()
    }

    deinit {
        // A leftover in the temporary folder harms nobody.
        try? FileManager.default.removeItem(at: directory)
    }

    func url(_ userInformation: String? = nil) -> String {
        "\(program.scheme)://" + (userInformation.map { $0 + "@" } ?? "") + "127.0.0.1:\(port)"
    }

    private func waitUntilItListens() throws {
        for _ in 0..<1000 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let result = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if result == 0 { return }
            usleep(10_000)  // allow-sleep: another process does not say when it listens
        }
        throw CommandFailure(text: "\(program) does not listen on port \(port)")
    }
}
