import CLinux
import Glibc

/// Finds the program a launch command names.
enum ProgramLookup {
    /// - Parameters:
    ///   - name: absolute path, or a name to be found in `path`.
    ///   - path: value of PATH.
    /// - Returns: the program's absolute path.
    /// - Throws: `programUnavailable` where it is not there, `profileNotUsable` where it can never be; with what to do.
    static func find(_ name: String, path: String) throws(RuntimeError) -> String {
        if name.hasPrefix("/") {
            guard access(name, F_OK) == 0 else {
                throw RuntimeError(
                    .programUnavailable,
                    "the launch command \(name) does not exist; install it or correct the profile"
                )
            }
            guard isExecutableFile(name) else {
                throw RuntimeError(
                    .programUnavailable,
                    "the launch command \(name) is not an executable file; check its mode (chmod +x)"
                )
            }
            return name
        }
        guard !name.contains("/") else {
            throw RuntimeError(
                .profileNotUsable,
                "the launch command \(name) must be an absolute path, or a name found in PATH"
            )
        }
        for directory in path.split(separator: ":") {
            let candidate = "\(directory)/\(name)"
            if directory.hasPrefix("/"), isExecutableFile(candidate) { return candidate }
        }
        throw RuntimeError(
            .programUnavailable,
            "the launch command \(name) is not found in PATH (\(path)); install it or give its absolute path"
        )
    }

    static func isExecutableFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }
}
