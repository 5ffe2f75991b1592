import os
import pickle
import socket
import time

import pytest

from semilla.data.folders import read_pictures
from semilla.data.walk import Tally, Walk, kind_of, list_pictures
from semilla.errors import DataError


def put(root, *paths):
    for path in paths:
        place = os.path.join(os.fsencode(root), path if isinstance(path, bytes) else os.fsencode(path))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(b"content of " + os.path.basename(place))


def rows(manifest):
    return list(zip(manifest.paths, manifest.labels, manifest.parts, strict=True))


def told(manifest, *words):
    return any(all(word in note for word in words) for note in manifest.notes)


def check_blobs(manifest, blobs):
    assert len(blobs) == len(manifest)
    blobs = pickle.loads(pickle.dumps(blobs))
    for row, path in enumerate(manifest.paths):
        name = os.fsencode(path).rpartition(b"/")[2]
        assert blobs.read(row) == b"content of " + name
        assert blobs.stamp(row)[0] == len(name) + 11
    assert len({blobs.name(row) for row in range(len(blobs))}) == len(manifest)


def test_class_folders(tmp_path):
    put(tmp_path, "dog/1.JPG", "cat/b.png", "cat/deep/er/a.webp", "cat/a.png", "Zebra/z.tiff", "é/e.gif")
    manifest, blobs = read_pictures(tmp_path)
    assert rows(manifest) == [
        ("Zebra/z.tiff", "Zebra", "train"),
        ("cat/a.png", "cat", "train"),
        ("cat/b.png", "cat", "train"),
        ("cat/deep/er/a.webp", "cat", "train"),
        ("dog/1.JPG", "dog", "train"),
        ("é/e.gif", "é", "train"),
    ]
    assert (manifest.name, manifest.notes, manifest.classes) == (tmp_path.name, (), ())
    assert set(manifest.groups) == {""}
    check_blobs(manifest, blobs)


def test_paths_are_in_byte_order(tmp_path):
    names = ["a.png", "a/b.png", "a-b.png", "a0/c.png", "a/b/c.png", "a/b.x.png", "a/B.png", b"a/\xe9.png", "a/é.png"]
    put(tmp_path, *names)
    found = [os.fsencode(path) for path in Walk(str(tmp_path))]
    assert found == sorted(name if isinstance(name, bytes) else name.encode() for name in names)
    assert [path for _, path in list_pictures([str(tmp_path)])] == list(map(os.fsdecode, found))


UNLABELED = ["unlabeled", "Unlabelled", "_UNLABELED", "_unlabelled", "unknown", "unlabeled_images", "unlabeled2"]
UNLABELED += ["Unlabeled Data", "un-labeled", "__unlabeled__", "no_label", "nolabel", "No Labels", "unlab", "UNLAB-1"]


@pytest.mark.parametrize("name", UNLABELED)
def test_an_unlabeled_folder_is_no_class(tmp_path, name):
    put(tmp_path, "cat/a.png", "dog/b.png", f"{name}/c.png", f"{name}/cat/d.png")
    manifest, blobs = read_pictures(tmp_path)
    labels = {path: label for path, label, part in rows(manifest) if part == "train"}
    assert labels == {"cat/a.png": "cat", "dog/b.png": "dog", f"{name}/c.png": None, f"{name}/cat/d.png": None}
    assert told(manifest, repr(name), "no class", "2 pictures")
    check_blobs(manifest, blobs)


@pytest.mark.parametrize("name", ["labels", "unknown_bird", "lab", "unable", "non-label", "none"])
def test_names_that_only_look_like_unlabeled_are_classes(tmp_path, name):
    put(tmp_path, "cat/a.png", f"{name}/b.png")
    assert set(read_pictures(tmp_path)[0].labels) == {"cat", name}


@pytest.mark.parametrize("name", ["unsorted", "Extra", "misc", "others", "to-do"])
def test_a_large_folder_of_what_was_not_looked_at(tmp_path, name):
    put(tmp_path, "cat/a.png", "dog/b.png", *(f"dog/{number}.png" for number in range(2)))
    put(tmp_path, *(f"{name}/{number}.png" for number in range(6)))
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.labels) == {"cat", "dog", name}
    assert not any("warn" in note for note in manifest.notes)  # twice as large as the largest class
    put(tmp_path, f"{name}/6.png")
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.labels) == {"cat", "dog", name}
    assert told(manifest, "warn[D059]", f"{name!r} with 7 pictures", "largest other one has 3", "'unlabeled'")


def test_a_large_class_of_any_other_name_is_a_class(tmp_path):
    put(tmp_path, "cat/a.png", *(f"dog/{number}.png" for number in range(9)))
    assert read_pictures(tmp_path)[0].notes == ()


@pytest.mark.parametrize("labeled", ["labeled", "Labelled"])
@pytest.mark.parametrize("start", ["", "train/"])
def test_a_folder_of_what_is_labeled_is_passed_through(tmp_path, labeled, start):
    put(tmp_path, f"{start}{labeled}/cat/deep/a.png", f"{start}{labeled}/dog/b.png", f"{start}unlabelled/c.png")
    put(tmp_path, "test/cat/d.png", "test/dog/e.png")
    manifest, blobs = read_pictures(tmp_path)
    assert sorted((path[-5:], label, part) for path, label, part in rows(manifest)) == sorted(
        [
            ("a.png", "cat", "train"),
            ("b.png", "dog", "train"),
            ("c.png", None, "train"),
            ("d.png", "cat", "test"),
            ("e.png", "dog", "test"),
        ],
        key=lambda row: row[0],
    )
    assert told(manifest, f"the folders in {labeled!r} are the classes")
    check_blobs(manifest, blobs)


def test_parts_in_a_folder_of_what_is_labeled(tmp_path):
    put(tmp_path, "labeled/train/cat/a.png", "labeled/train/dog/b.png", "labeled/test/cat/c.png", "unlabeled/d.png")
    assert [row[1:] for row in rows(read_pictures(tmp_path)[0])] == [
        ("cat", "test"),
        ("cat", "train"),
        ("dog", "train"),
        (None, "train"),
    ]


def test_labeled_may_be_a_class(tmp_path):
    put(tmp_path, "labeled/a.png", "blank/b.png", "cat/labeled/x/c.png")
    manifest, _ = read_pictures(tmp_path)
    assert manifest.labels == ("blank", "cat", "labeled")
    assert manifest.notes == ()


@pytest.mark.parametrize(
    ("train", "test", "inner"),
    [
        ("training_set", "test_set", ""),
        ("seg_train", "seg_test", "again"),
        ("train", "test-images", ""),
        ("a.train", "a.val", ""),
    ],
)
def test_parts_by_a_word_of_their_names(tmp_path, train, test, inner):
    for top, name in ((train, "cat/a"), (train, "dog/b"), (test, "cat/c")):
        put(tmp_path, f"{top}/{top}/{name}.png" if inner else f"{top}/{name}.png")
    put(tmp_path, "seg_pred/d.png", "unlabeled/e.png")
    manifest, _ = read_pictures(tmp_path)
    held_out = "development" if "val" in test else "test"
    expected = {("cat", "train"), ("dog", "train"), ("cat", held_out), (None, "train")}
    assert {row[1:] for row in rows(manifest)} == expected
    assert told(manifest, "by the words in their names", f"{test!r} is the {held_out} part")
    assert told(manifest, "warn[D059]", "'seg_pred'")


def test_a_word_makes_no_part_that_a_whole_name_says(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test_extra/cat/d.png")
    manifest, _ = read_pictures(tmp_path)
    assert "test_extra/cat/d.png" not in manifest.paths
    assert told(manifest, "warn[D059]", "left out: 'test_extra'")


def test_a_word_alone_makes_no_part(tmp_path):
    put(tmp_path, "train_station/a.png", "test_tube/b.png", "train_station/in/c.png", "test_tube/out/d.png")
    assert set(read_pictures(tmp_path)[0].labels) == {"train_station", "test_tube"}
    put(tmp_path / "vehicles", "train/train/in/a.png", "train/train/out/a.png", "train/bus/b.png", "test/bus/c.png")
    assert set(read_pictures(tmp_path / "vehicles")[0].labels) == {"train", "bus"}


@pytest.mark.parametrize("start", ["data/", "data/archive 1/", "train_data/"])
def test_a_folder_around_all_is_passed_through(tmp_path, start):
    put(tmp_path, f"{start}train/cat/a.png", f"{start}train/dog/b.png", f"{start}test/cat/c.png", "README.md")
    put(tmp_path, "__MACOSX/data/._a.png", ".git/x.png")
    manifest, blobs = read_pictures(tmp_path)
    assert rows(manifest) == [
        (f"{start}test/cat/c.png", "cat", "test"),
        (f"{start}train/cat/a.png", "cat", "train"),
        (f"{start}train/dog/b.png", "dog", "train"),
    ]
    assert manifest.name == tmp_path.name
    assert told(manifest, f"all pictures are in the folder {start.split('/')[0]!r}", "left out: 'README.md'")
    check_blobs(manifest, blobs)


def test_a_list_in_a_folder_around_all(tmp_path):
    put(tmp_path, "data/a.png", "data/b.png")
    (tmp_path / "data/labels.csv").write_text("path,label\na.png,x\nb.png,y\n")
    manifest, blobs = read_pictures(tmp_path)
    assert rows(manifest) == [("data/a.png", "x", "train"), ("data/b.png", "y", "train")]
    check_blobs(manifest, blobs)


@pytest.mark.parametrize("beside", ["cat/b.png", "b.png", "labels.json", "table.csv", "empty"])
def test_what_lies_beside_keeps_a_folder_a_class(tmp_path, beside):
    put(tmp_path, "data/in/a.png", "data/out/b.png")
    if beside == "empty":
        (tmp_path / "empty").mkdir()
    else:
        put(tmp_path, beside)
    if beside.endswith((".json", ".csv")):
        (tmp_path / beside).write_text("a,b\n1,2\n")
        with pytest.raises(DataError, match="D051"):
            read_pictures(tmp_path)
    else:
        assert "data" in read_pictures(tmp_path)[0].labels


@pytest.mark.parametrize("name", ["train", "test", "unlabeled", "my_test"])
def test_a_folder_that_means_something_is_not_passed_through(tmp_path, name):
    put(tmp_path, f"{name}/one/a.png", f"{name}/two/b.png")
    if name == "test":
        with pytest.raises(DataError, match="only held-out"):
            read_pictures(tmp_path)
        return
    labels = {"train": {"one", "two"}, "unlabeled": {None}, "my_test": {"my_test"}}
    assert set(read_pictures(tmp_path)[0].labels) == labels[name]


def test_a_class_alone_in_the_test_folder_stays_a_class(tmp_path):
    put(tmp_path, "data/cat/a.png", "data/dog/b.png", "held/cat/day/c.png", "held/cat/night/d.png")
    manifest, _ = read_pictures(tmp_path / "data", test=tmp_path / "held")
    assert {row[1] for row in rows(manifest) if row[2] == "test"} == {"cat"}


def test_a_folder_around_all_beside_the_unlabeled(tmp_path):
    put(tmp_path, "data/cat/a.png", "data/dog/b.png", "more/c.png")
    (tmp_path / "link").symlink_to("/etc")
    assert set(read_pictures(tmp_path)[0].labels) == {"data", "more"}
    (tmp_path / "link").unlink()
    manifest, _ = read_pictures(tmp_path, unlabeled=tmp_path / "more")
    assert [row[:2] for row in rows(manifest)] == [
        ("data/cat/a.png", "cat"),
        ("data/dog/b.png", "dog"),
        ("more/c.png", None),
    ]


def test_a_link_is_not_passed_through(tmp_path):
    put(tmp_path, "elsewhere/cat/a.png", "elsewhere/dog/b.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to("../elsewhere")
    with pytest.raises(DataError, match=r"D004.*S010"):
        read_pictures(tmp_path / "data")


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "Development"])
@pytest.mark.parametrize("pool", ["unlabeled", "train/unlabelled"])
def test_parts(tmp_path, held_out, pool):
    put(tmp_path, "Train/cat/a.png", "Train/dog/b.png", "test/dog/c.png", f"{held_out}/cat/sub/d.png")
    put(tmp_path, f"{pool.replace('train', 'Train')}/x/e.png")
    manifest, blobs = read_pictures(tmp_path)
    found = {path.rpartition("/")[2]: (label, part) for path, label, part in rows(manifest)}
    assert found == {
        "a.png": ("cat", "train"),
        "b.png": ("dog", "train"),
        "c.png": ("dog", "test"),
        "d.png": ("cat", "development"),
        "e.png": (None, "train"),
    }
    check_blobs(manifest, blobs)


def test_a_test_folder_beside_the_class_folders(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png", "test/cat/c.png")
    manifest, _ = read_pictures(tmp_path)
    assert ("test/cat/c.png", "cat", "test") in rows(manifest)


def test_train_may_be_a_class(tmp_path):
    put(tmp_path, "train/a.png", "bus/b.png", "unlabeled/c.png")
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.labels) == {"train", "bus", None}


def test_held_out_pictures_without_labels_are_left_out(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/c.png", "test/d.png", "other/e.png")
    manifest, blobs = read_pictures(tmp_path)
    assert set(manifest.parts) == {"train"}
    assert len(manifest) == len(blobs) == 2
    assert told(manifest, "2 pictures of 'test'", "left out")
    assert told(manifest, "1 pictures beside the folder train", "'other'")


def test_a_class_of_the_test_part_that_training_lacks(tmp_path):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/emu/d.png", "test/yak/e.png")
    with pytest.raises(DataError) as caught:
        read_pictures(tmp_path)
    assert caught.value.code == "D052"
    assert "'emu', 'yak'" in caught.value.message


def test_an_empty_class_folder_is_a_class(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png", "notes/readme.txt")
    (tmp_path / "emu" / "inner").mkdir(parents=True)
    (tmp_path / "unlabeled").mkdir()
    manifest, _ = read_pictures(tmp_path)
    assert manifest.classes == ("emu",)
    assert told(manifest, "'notes'", "no classes")
    put(tmp_path / "parted", "train/cat/a.png", "test/cat/b.png")
    (tmp_path / "parted/train/emu").mkdir()
    (tmp_path / "parted/test/yak").mkdir()
    assert read_pictures(tmp_path / "parted")[0].classes == ("emu",)


def test_a_flat_folder_has_no_labels(tmp_path):
    put(tmp_path, "a.png", "b.png")
    manifest, _ = read_pictures(tmp_path)
    assert rows(manifest) == [("a.png", None, "train"), ("b.png", None, "train")]
    assert told(manifest, "2 pictures", "no class folders", "no label")


def test_pictures_beside_class_folders_have_no_label(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png", "c.png")
    manifest, _ = read_pictures(tmp_path)
    assert ("c.png", None, "train") in rows(manifest)
    assert told(manifest, "1 pictures beside the class folders have no label")


def test_only_held_out_parts(tmp_path):
    put(tmp_path, "test/cat/a.png", "val/cat/b.png")
    with pytest.raises(DataError, match=r"only held-out pictures, below 'test', 'val'"):
        read_pictures(tmp_path)


def test_parts_inside_of_class_folders_are_told(tmp_path):
    put(tmp_path, "cat/train/a.png", "cat/test/b.png", "dog/train/c.png")
    manifest, _ = read_pictures(tmp_path)
    assert set(manifest.parts) == {"train"}
    assert told(manifest, "warn[D059]", "'cat/test'")


def test_clutter_and_other_files(tmp_path):
    put(tmp_path, "cat/a.png", "cat/.hidden.png", ".git/x.png", "cat/Thumbs.db", "cat/.DS_Store", "__MACOSX/cat/b.png")
    put(tmp_path, "dog/b.png", *(f"cat/{number}.txt" for number in range(7)))
    manifest, _ = read_pictures(tmp_path)
    assert manifest.paths == ("cat/a.png", "dog/b.png")
    assert told(
        manifest, "7 files that are no pictures", "'cat/0.txt', 'cat/1.txt', 'cat/2.txt', 'cat/3.txt', 'cat/4.txt', …"
    )
    assert len(manifest.notes) == 1


UNREAD = ["heic", "HEIF", "avif", "jp2", "raw", "cr2", "nef", "svg", "psd"]


@pytest.mark.parametrize("ending", UNREAD)
def test_pictures_of_formats_that_are_not_read(tmp_path, ending):
    put(tmp_path, "cat/a.png", "dog/b.png", f"cat/c.{ending}", f"dog/deep/er/d.{ending}", f"dog/deep/e.{ending}")
    manifest, _ = read_pictures(tmp_path)
    assert manifest.paths == ("cat/a.png", "dog/b.png")
    (note,) = manifest.notes
    assert note.startswith("warn[D059]: 3 pictures")
    assert f"(.{ending.lower()}): 'cat' 1, 'dog/deep' 2" in note
    assert "convert them to JPEG or PNG" in note


def test_nothing_but_pictures_that_are_not_read(tmp_path):
    put(tmp_path, "data/cat/a.heic", "data/dog/b.heic", "data/dog/c.avif", "data/readme.txt", "good/cat/x.png")
    with pytest.raises(DataError) as caught:
        read_pictures(tmp_path / "data")
    assert caught.value.code == "D003"
    assert "3 pictures are of a format that is not read (.avif, .heic): 'cat' 1, 'dog' 2" in caught.value.message
    assert "JPEG" in caught.value.fix
    put(tmp_path, "only/a.heic")
    with pytest.raises(DataError, match=r"D003.*1 pictures are of a format that is not read \(.heic\): '.' 1"):
        read_pictures(tmp_path / "only")
    with pytest.raises(DataError, match=r"D040.*3 pictures are of a format"):
        read_pictures(tmp_path / "good", unlabeled=tmp_path / "data")


HARD = [b"caf\xe9.jpg", "🦜.png", "x" * 251 + ".png", "-rf.png", 'it\'s "so".png', "a\nb.png", " .png", "a\\b.png"]


def test_the_first_names_are_told_in_whatever_order_they_come():
    tally = Tally()
    for name in ("é", "b", "g", "a", "f", "d", "c", "e"):
        tally.add(name)
    assert (tally.count, str(tally)) == (8, "'a', 'b', 'c', 'd', 'e', …")


def test_hard_names(tmp_path):
    put(tmp_path, *(b"cat/" + os.fsencode(name) for name in HARD), "dog/b.png")
    manifest, blobs = read_pictures(tmp_path)
    assert {os.fsencode(path) for path in manifest.paths} >= {b"cat/" + os.fsencode(name) for name in HARD}
    check_blobs(manifest, blobs)
    manifest.save(tmp_path / "manifest.jsonl")
    assert type(manifest).read(tmp_path / "manifest.jsonl").paths == manifest.paths


def links(tmp_path):
    root = tmp_path / "data"
    put(root, "cat/a.png", "dog/b.png")
    put(tmp_path, "elsewhere/cat/c.png", "elsewhere/d.png")
    (root / "cat/inside.png").symlink_to("../dog/b.png")
    (root / "cat/outside.png").symlink_to(tmp_path / "elsewhere/d.png")
    (root / "cat/hostname.png").symlink_to("/etc/hostname")
    (root / "cat/more").symlink_to(tmp_path / "elsewhere")
    (root / "cat/loop").symlink_to(root)
    (root / "cat/round.png").symlink_to("round.png")
    (root / "again").symlink_to("cat")
    (tmp_path / "elsewhere/back").symlink_to(root)
    (tmp_path / "elsewhere/up").symlink_to(tmp_path)
    os.mkfifo(root / "dog/pipe.png")
    (root / "dog/pipelink.png").symlink_to("pipe.png")
    return root


def test_links_that_leave_the_folder_are_skipped(tmp_path):
    root = links(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "dog/s.png"))
        manifest, blobs = read_pictures(root)
    assert manifest.paths == ("cat/a.png", "cat/inside.png", "dog/b.png")
    assert told(manifest, "warn[S010]", "3 links that leave", "--follow-links")
    assert told(manifest, "2 links lead to folders", "'again'", "'cat/loop'")
    assert told(manifest, "1 links lead nowhere", "'cat/round.png'")
    assert told(manifest, "3 pipes, sockets or devices")
    assert [blobs.read(row) for row in range(3)] == [b"content of a.png", b"content of b.png", b"content of b.png"]


def test_links_can_be_followed_and_no_loop_closes(tmp_path):
    root = links(tmp_path)
    start = time.monotonic()
    manifest, blobs = read_pictures(root, follow_links=True)
    assert time.monotonic() - start < 2
    assert {"cat/outside.png", "cat/more/d.png", "cat/more/cat/c.png"} <= set(manifest.paths)
    assert dict(zip(manifest.paths, manifest.labels, strict=True))["cat/more/cat/c.png"] == "cat"
    assert len(manifest.paths) == len(set(manifest.paths)) < 12
    contents = {path: blobs.read(row) for row, path in enumerate(manifest.paths) if "hostname" not in path}
    assert contents["cat/outside.png"] == b"content of d.png"
    assert contents["cat/more/cat/c.png"] == b"content of c.png"
    assert len({blobs.name(row) for row in range(len(blobs))}) == len(blobs)


def test_missing_wrong_and_empty(tmp_path):
    (tmp_path / "empty/.git").mkdir(parents=True)
    put(tmp_path, "empty/.hidden", "other/readme.txt", "one.png", "words.txt", "table.csv")
    (tmp_path / "table.csv").write_text("a,b,label\n1,2,x\n")
    os.mkfifo(tmp_path / "pipe")
    codes = {"no": "D001", "one.png": "D003", "pipe": "D003", "empty": "D004"}
    for name, code in codes.items():
        with pytest.raises(DataError) as caught:
            read_pictures(tmp_path / name)
        assert caught.value.code == code, name
        assert name in caught.value.message
    assert read_pictures(tmp_path / "other") is None
    assert read_pictures(tmp_path / "words.txt") is None
    assert read_pictures(tmp_path / "table.csv") is None


def test_further_folders(tmp_path):
    put(tmp_path, "data/cat/a.png", "data/dog/b.png", "pool/deep/cat/a.png", "pool/x.png", "held/cat/a.png")
    manifest, blobs = read_pictures(tmp_path / "data", unlabeled=tmp_path / "pool", test=tmp_path / "held")
    assert rows(manifest) == [
        ("cat/a.png", "cat", "train"),
        ("dog/b.png", "dog", "train"),
        ("held/cat/a.png", "cat", "test"),
        ("pool/deep/cat/a.png", None, "train"),
        ("pool/x.png", None, "train"),
    ]
    assert told(manifest, "2 unlabeled examples from 'pool'")
    assert told(manifest, "1 test examples from 'held'")
    check_blobs(manifest, blobs)


def test_a_further_folder_of_a_name_that_is_taken(tmp_path):
    put(tmp_path, "data/cat/a.png", "data/pool/b.png", "pool/b.png", "b/pool/b.png")
    manifest, blobs = read_pictures(tmp_path / "data", unlabeled=tmp_path / "pool")
    assert manifest.paths == ("cat/a.png", "pool/b.png", "pool-2/b.png")
    check_blobs(manifest, blobs)


def test_further_folders_inside_of_the_data(tmp_path):
    put(tmp_path, "cat/a.png", "dog/b.png", "pool/c.png", "held/dog/d.png")
    manifest, _ = read_pictures(tmp_path, unlabeled=tmp_path / "pool", test=tmp_path / "held")
    assert rows(manifest) == [
        ("cat/a.png", "cat", "train"),
        ("dog/b.png", "dog", "train"),
        ("held/dog/d.png", "dog", "test"),
        ("pool/c.png", None, "train"),
    ]
    inside, _ = read_pictures(tmp_path / "held", unlabeled=tmp_path)
    assert sorted(inside.labels, key=str) == [None, None, None, "dog"]


def test_the_test_folder_given_by_itself_wins(tmp_path):
    put(tmp_path, "data/train/cat/a.png", "data/train/dog/b.png", "data/test/cat/c.png", "held/cat/d.png")
    manifest, blobs = read_pictures(tmp_path / "data", test=tmp_path / "held")
    assert [path for path, _, part in rows(manifest) if part == "test"] == ["held/cat/d.png"]
    assert told(manifest, "1 test examples", "give way")
    check_blobs(manifest, blobs)


def test_a_test_folder_without_labels(tmp_path):
    put(tmp_path, "data/cat/a.png", "held/a.png")
    with pytest.raises(DataError) as caught:
        read_pictures(tmp_path / "data", test=tmp_path / "held")
    assert caught.value.code == "D081"
    assert "held" in caught.value.message


def test_an_unlabeled_folder_without_pictures(tmp_path):
    put(tmp_path, "data/cat/a.png", "words/a.txt")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "words"):
        with pytest.raises(DataError) as caught:
            read_pictures(tmp_path / "data", unlabeled=tmp_path / name)
        assert caught.value.code == "D040"


def test_swapped_folders(tmp_path):
    put(tmp_path, "data/a.png", "pool/cat/a.png", "pool/dog/a.png")
    with pytest.raises(DataError, match=r"D081.*found labels in pool — swapped\?"):
        read_pictures(tmp_path / "data", unlabeled=tmp_path / "pool")


def test_what_is_listed_for_prediction(tmp_path, monkeypatch):
    put(tmp_path, "one.dat", "folder/b.png", "folder/a/c.png", "folder/x.txt")
    (tmp_path / "folder/l.png").symlink_to("/etc/hostname")
    monkeypatch.chdir(tmp_path)
    notes = []
    found = list(list_pictures(["one.dat", "folder"], tell=notes.append))
    assert found == [("", "one.dat"), ("folder", "a/c.png"), ("folder", "b.png")]
    assert all(note.startswith("folder: ") for note in notes)
    assert len(notes) == 2
    with pytest.raises(DataError, match="D001"):
        next(list_pictures(["nothing"]))


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    put(tmp_path, "cat/a.png")
    scandir = os.scandir

    def refuse(path):
        if os.fsencode(path).endswith(b"cat/"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError) as caught:
        list(Walk(str(tmp_path)))
    assert caught.value.code == "D006"
    assert "cat" in caught.value.message
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: refuse(f"{path}/") if path.endswith("cat") else listdir(path))
    with pytest.raises(DataError, match=r"D006.*cat"):
        read_pictures(tmp_path)


def test_a_name_that_no_file_can_have():
    for name in ("a\0b", "x" * 300):
        with pytest.raises(DataError):
            kind_of(name)


def test_many_files_are_listed_in_no_time(tmp_path):
    for folder in range(5):
        (tmp_path / f"{folder}").mkdir()
        os.close(os.open(tmp_path / f"{folder}/x.heic", os.O_CREAT))
        for number in range(2_000):
            os.close(os.open(tmp_path / f"{folder}/{number}.png", os.O_CREAT))
    start = time.process_time()
    manifest, _ = read_pictures(tmp_path)
    assert len(manifest) == 10_000
    assert time.process_time() - start < 0.5  # 0.03 s on an idle core
