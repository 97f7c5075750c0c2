import Glibc
import WireFormat

/// What the node is: read once, when the agent starts.
struct NodeFacts: Equatable, Sendable {
    /// `PRETTY_NAME` of os-release, `Linux` where there is none.
    var osVersion: String
    /// As `uname -m` says: `x86_64`, `aarch64`.
    var architecture: String
    /// As `uname -r` says.
    var kernel: String
    var hostName: String
    /// Changes with each boot; empty where the kernel does not tell.
    var bootID: String
    /// Tells a cloned disk and names nobody; empty where the machine has no id.
    var machineFingerprint: String

    /// Reads the facts of this machine.
    /// - Parameter machineFingerprint: a keyed hash of the machine id, 32 lower-case hexadecimal digits; the id itself
    ///   must not leave the machine (machine-id(5)).
    static func read(
        paths: SystemPaths = SystemPaths(),
        machineFingerprint hash: (_ machineID: [UInt8]) -> String
    ) -> NodeFacts {
        var reader = SmallFileReader()
        let name = systemName()
        return NodeFacts(
            osVersion: osVersion(paths, &reader),
            architecture: name.architecture,
            kernel: name.kernel,
            hostName: name.host,
            bootID: bootID(paths, &reader),
            machineFingerprint: machineID(paths, &reader).map(hash) ?? ""
        )
    }

    /// Sets the fields of the message that stand here, and no other.
    func fill(_ hello: inout WireHello) {
        hello.os = "linux"
        hello.osVersion = osVersion
        hello.architecture = architecture
        hello.kernel = kernel
        hello.hostName = hostName
        hello.bootID = bootID
        hello.machineFingerprint = machineFingerprint
    }

    private static func osVersion(_ paths: SystemPaths, _ reader: inout SmallFileReader) -> String {
        for path in ["\(paths.etc)/os-release", "\(paths.usrLib)/os-release"] {
            // Both places are optional, so a file that is not there only means the next one.
            if let bytes = try? reader.read(path), let name = OSRelease.prettyName(parsing: bytes) { return name }
        }
        return "Linux"
    }

    private static func bootID(_ paths: SystemPaths, _ reader: inout SmallFileReader) -> String {
        // Some sandboxes hide it; the hub copes with a node that cannot tell its boots apart.
        guard let bytes = try? reader.read("\(paths.proc)/sys/kernel/random/boot_id") else { return "" }
        var lines = ByteCursor(bytes)
        return String(decoding: lines.line() ?? [], as: UTF8.self)
    }

    /// nil where there is none yet: the file is missing, empty, or says `uninitialized` during the first boot.
    private static func machineID(_ paths: SystemPaths, _ reader: inout SmallFileReader) -> [UInt8]? {
        // A container image may come without the file; the fingerprint is evidence, not identity.
        guard let bytes = try? reader.read("\(paths.etc)/machine-id") else { return nil }
        var lines = ByteCursor(bytes)
        guard let id = lines.line(), id.count == 32, id.allSatisfy(isLowerHexadecimal) else { return nil }
        return Array(id)
    }

    private static func isLowerHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    private static func systemName() -> (architecture: String, kernel: String, host: String) {
        var name = utsname()
        // uname fails only for a pointer outside the process.
        guard uname(&name) == 0 else { return ("", "", "") }
        return (text(name.machine), text(name.release), text(name.nodename))
    }

    /// The text of a fixed-size C array, up to its first zero byte.
    private static func text<Array>(_ array: Array) -> String {
        withUnsafeBytes(of: array) { bytes in String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
