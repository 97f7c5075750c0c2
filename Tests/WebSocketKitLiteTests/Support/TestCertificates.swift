import Foundation
import Synchronization

private let directoryToRemove = Mutex("")

/// A certificate authority and server certificates made by the `openssl` command for one test run.
struct TestCertificates: Sendable {
    let directory: String

    var authority: String { directory + "/ca.pem" }
    var otherAuthority: String { directory + "/other-ca.pem" }

    func certificate(_ name: String) -> String { "\(directory)/\(name).pem" }
    func key(_ name: String) -> String { "\(directory)/\(name).key" }

    /// Made once; every test that needs certificates waits for the same set.
    static let shared = Result {
        let certificates = try TestCertificates()
        directoryToRemove.withLock { $0 = certificates.directory }
        atexit {
            // A directory that cannot be removed harms nobody; the system clears its temporary files.
            try? FileManager.default.removeItem(atPath: directoryToRemove.withLock { $0 })
        }
        return certificates
    }

    private init() throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("wskl-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        directory = url.path
        let configuration = """
            [req]
            distinguished_name = name
            [name]
            [authority]
            basicConstraints = critical, CA:TRUE
            [ca]
            default_ca = this
            [this]
            dir = \(directory)
            new_certs_dir = \(directory)
            database = \(directory)/index
            rand_serial = yes
            default_md = sha256
            policy = any
            unique_subject = no
            certificate = \(directory)/ca.pem
            private_key = \(directory)/ca.key
            [any]
            commonName = supplied
            [good]
            subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
            [wrong]
            subjectAltName = DNS:elsewhere.example, IP:192.0.2.1
            [nameless]
            basicConstraints = CA:FALSE
            """
        try configuration.write(toFile: directory + "/openssl.cnf", atomically: true, encoding: .utf8)
        try "".write(toFile: directory + "/index", atomically: true, encoding: .utf8)
        for name in ["ca", "other-ca"] {
            try openssl(
                ["req", "-x509", "-config", "openssl.cnf", "-extensions", "authority", "-subj", "/CN=Test \(name)"]
                    + newKey(name) + ["-days", "2", "-out", "\(name).pem"]
            )
        }
        for (name, extensions, from, to) in [
            ("good", "good", "20200101000000Z", "20991231000000Z"),
            ("wrong", "wrong", "20200101000000Z", "20991231000000Z"),
            ("expired", "good", "20200101000000Z", "20200201000000Z"),
            ("future", "good", "20980101000000Z", "20991231000000Z"),
            ("client", "good", "20200101000000Z", "20991231000000Z"),
            // Its common name is all it has.
            ("localhost", "nameless", "20200101000000Z", "20991231000000Z"),
        ] {
            try openssl(
                ["req", "-new", "-config", "openssl.cnf", "-subj", "/CN=\(name)"] + newKey(name)
                    + ["-out", "\(name).csr"]
            )
            try openssl([
                "ca", "-batch", "-notext", "-config", "openssl.cnf", "-extensions", extensions, "-startdate", from,
                "-enddate", to, "-in", "\(name).csr", "-out", "\(name).pem",
            ])
        }
        try openssl([
            "pkey", "-in", "client.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted.key",
        ])
        try checkMade(["ca", "other-ca", "good", "wrong", "expired", "future", "client", "localhost"])
    }

    /// Fails when a command has failed without anybody looking at its status.
    private func checkMade(_ names: [String]) throws {
        for name in names where !FileManager.default.fileExists(atPath: certificate(name)) {
            throw CommandFailure(text: "openssl made no certificate \(name); is it installed?")
        }
    }

    private func newKey(_ name: String) -> [String] {
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "\(name).key"]
    }

    /// The pin of a certificate's key, computed by the command so that our own code is not its own judge.
    func pin(_ name: String) throws -> String {
        try openssl(["x509", "-in", "\(name).pem", "-noout", "-pubkey", "-out", "\(name).pub"])
        try openssl(["pkey", "-pubin", "-in", "\(name).pub", "-outform", "DER", "-out", "\(name).der"])
        let text = try openssl(["dgst", "-sha256", "-r", "\(name).der"])
        return String(text.prefix(64))
    }

    @discardableResult
    private func openssl(_ arguments: [String]) throws -> String {
        try ChildProcess(["openssl"] + arguments, directory: directory).readToEnd()
    }
}
