import Glibc

@testable import EdgeAgent

/// A folder that stands in for `/proc` and `/etc`, removed at the end of the test.
final class FixtureFolder {
    let path: String
    private var created: [String] = []

    init() throws {
        var template = Array("/tmp/edge-agent-telemetry-XXXXXX".utf8CString)
        let made: String? = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        guard let made else { throw FixtureError.errno(errno) }
        path = made
    }

    deinit {
        // Newest first, so that folders are empty when their turn comes. Leaving one behind would harm nothing.
        for entry in created.reversed() { remove(entry) }
        remove(path)
    }

    var paths: SystemPaths {
        SystemPaths(proc: path, etc: path + "/etc", usrLib: path + "/usr-lib", sys: path + "/sys")
    }

    func write(_ file: String, _ text: String) throws {
        let folders = file.split(separator: "/").dropLast()
        var folder = path
        for name in folders {
            folder += "/" + name
            guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw FixtureError.errno(errno) }
            created.append(folder)
        }
        let descriptor = open("\(path)/\(file)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw FixtureError.errno(errno) }
        created.append("\(path)/\(file)")
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw FixtureError.errno(errno) }
    }

    func delete(_ file: String) {
        unlink("\(path)/\(file)")
    }
}

enum FixtureError: Error {
    case errno(Int32)
}
