/// `openssl s_server` as the TLS peer that is not our own code.
///
/// In page mode it answers any request with a status page. In raw mode, what one client sends comes out of `received`
/// and what is given to `send` goes to that client.
final class OpenSSLServer: Sendable {
    private let reserved: ReservedPort?
    private let process: ChildProcess
    let port: Int

    init(
        certificate name: String,
        in certificates: TestCertificates,
        host: String = "127.0.0.1",
        isRaw: Bool = false,
        options: [String] = []
    ) throws {
        // Raw mode does not tell the port it got, so it is given one.
        reserved = isRaw ? try ReservedPort() : nil
        let requestedPort = reserved?.port ?? 0
        process = try ChildProcess(
            [
                "openssl", "s_server", "-accept", "\(host):\(requestedPort)", "-cert", certificates.certificate(name),
                "-key", certificates.key(name), isRaw ? "-quiet" : "-www",
            ] + options,
            directory: certificates.directory
        )
        guard !isRaw else {
            port = requestedPort
            return
        }
        // "ACCEPT 127.0.0.1:port" says that it listens, and where.
        var text = ""
        while !text.contains("ACCEPT") || !text.hasSuffix("\n") {
            let bytes = process.read()
            guard !bytes.isEmpty else { throw CommandFailure(text: "s_server did not start") }
            text += String(decoding: bytes, as: UTF8.self)
        }
        let line = text.split(separator: "\n").first { $0.hasPrefix("ACCEPT") } ?? ""
        port = Int(line.split(separator: ":").last ?? "") ?? 0
    }

    /// Blocks until something was received; empty at the end.
    func received() -> [UInt8] { process.read() }

    func send(_ bytes: [UInt8]) throws { try process.write(bytes) }
}
