/// A directory with secrets that others may list or write. It was there before the program, which makes its own with mode
/// 0700, and it is left as it is, because it may hold other things too.
public enum OpenDirectory {
    /// One sentence with what to do; nil where others may do neither, or nothing can be told. To go through it is no harm:
    /// what lies in it has modes of its own, and programs of other users may have to.
    public static func note(on path: String, called name: String) -> String? {
        guard let mode = FileFacts(path: path, followsLinks: true)?.permissions, mode & 0o066 != 0 else { return nil }
        let can = mode & 0o022 != 0 ? "put files into" : "list"
        return "other users can \(can) the \(name) \(path) (mode \(String(mode, radix: 8))); unless they should, run: "
            + "chmod go-rw \(path)"
    }
}
