"""The tests that guard what is easily broken unseen, held to it: each break below must make one of them fail."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """One break: `new` in place of `old` in a file, which the tests named must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "space: the rotation turns the other way",
        "pipeline/release/rotation.py",
        "left_DD @ right_DD",
        "(left_DD @ right_DD).T",
        "tests/pipeline/release/test_rotation.py",
    ),
    Mutation(
        "space: users outweigh items by their number",
        "pipeline/release/rotation.py",
        "cross_DD += moments(now_RD, then_RD) / length",
        "cross_DD += moments(now_RD, then_RD)",
        "tests/pipeline/release/test_rotation.py",
    ),
    Mutation(
        "space: users stay where they were trained",
        "pipeline/stages/align.py",
        "turns = {ITEM_VECTORS: rotation_DD, USERS: rotation_DD, CONTENT: content_DD}",
        "turns = {ITEM_VECTORS: rotation_DD, USERS: np.eye(len(rotation_DD)), CONTENT: content_DD}",
        "tests/pipeline/stages/test_align.py",
    ),
    Mutation(
        "space: new items' vectors are not rotated",
        "pipeline/release/rotations.py",
        "return vector_QD if rotation_DD is None else rotated(vector_QD, rotation_DD)",
        "return vector_QD",
        "tests/pipeline/serving/test_embed.py::test_embed_items_of_a_rotated_release_are_rotated_like_it",
    ),
    Mutation(
        "space: a resumed run is aligned to another champion",
        "pipeline/registry/predecessor.py",
        "create_bytes(file, as_json(as_document(_present(store))))",
        "as_json(as_document(_present(store)))",
        "tests/pipeline/registry/test_predecessor.py",
    ),
    Mutation(
        "delta: a vector that moved a little is left out",
        "pipeline/release/delta.py",
        "(vectors_of(then, name) != vectors_of(now, name))",
        "~np.isclose(vectors_of(then, name), vectors_of(now, name))",
        "tests/pipeline/release/test_delta.py",
    ),
    Mutation(
        "warm start: the champion's own state is no candidate",
        "model/training.py",
        "self.best_metric = (1 + LEAST_GAIN) * metric",
        "pass",
        "tests/model/test_warm_start.py::test_start_from_is_kept_where_no_epoch_is_better",
    ),
    Mutation(
        "normalisation: symmetric becomes one-sided",
        "model/normalisation.py",
        "gather_rows(scale, row_E) * gather_rows(scale, column_E)",
        "gather_rows(scale, row_E)",
        "tests/model/test_user_item.py tests/model/test_graph.py",
    ),
    Mutation(
        "normalisation: rows are not divided",
        "model/normalisation.py",
        "torch.where(connected, 1 / safe, 0.0)",
        "torch.where(connected, 1.0, 0.0)",
        "tests/model/test_user_item.py",
    ),
    Mutation(
        "normalisation: a degree of zero divides",
        "model/normalisation.py",
        "safe = torch.where(connected, degree, 1.0)\n",
        "safe, connected = degree, degree >= 0\n",
        "tests/model/test_graph.py",
    ),
    Mutation(
        "normalisation: content vectors keep their length",
        "model/micro.py",
        "content_ID = self.columns.unit_rows(fused_ID)",
        "content_ID = fused_ID",
        "tests/model/test_training.py::test_micro_forward_equals_dense_float64_reference",
    ),
    Mutation(
        "masking: seen items are ranked",
        "model/evaluation.py",
        "score_BI[row, item] = -torch.inf",
        "pass",
        "tests/model/test_evaluation.py",
    ),
    Mutation(
        "masking: validation items are ranked at test",
        "pipeline/dataset/protocol.py",
        "return self._protocol._rank(self._scorer, self.relevant, [TRAIN, VALIDATION])",
        "return self._protocol._rank(self._scorer, self.relevant, [TRAIN])",
        "tests/pipeline/dataset/test_protocol.py",
    ),
    Mutation(
        "new items: they compete with the warm ones where those should be alone",
        "pipeline/dataset/protocol.py",
        "return self._measure(scorer, relevant, [TRAIN, VALIDATION], ~self.untrained_I)",
        "return self._measure(scorer, relevant, [TRAIN, VALIDATION])",
        "tests/pipeline/dataset/test_protocol.py",
    ),
    Mutation(
        "new items: those of the users' lists are counted among the warm ones",
        "pipeline/dataset/protocol.py",
        "slot_share(self._ranking, max(CUTOFFS), untrained_I)",
        "slot_share(self._ranking, max(CUTOFFS), ~untrained_I)",
        "tests/pipeline/dataset/test_protocol.py",
    ),
    Mutation(
        "new items: places that nothing fills are counted",
        "model/evaluation.py",
        "listed = listed[listed >= 0]",
        "listed = listed.flatten()",
        "tests/model/test_evaluation.py",
    ),
    Mutation(
        "similar items: an item is its own neighbour",
        "model/similar_items.py",
        "cosine_CI[torch.arange(len(anchor_C), device=anchor_C.device), anchor_C] = -torch.inf",
        "pass",
        "tests/model/test_similar_items.py",
    ),
    Mutation(
        "similar items: long vectors are nearer",
        "model/similar_items.py",
        "(vector_ID[anchor_C] @ vector_ID.T).mul_(scale_I)",
        "(vector_ID[anchor_C] @ vector_ID.T)",
        "tests/model/test_similar_items.py",
    ),
    Mutation(
        "similar items: a purchase of a new item counts as not found",
        "pipeline/dataset/similar.py",
        "later = protocol.parts[TEST].restricted_to(~protocol.untrained_I)",
        "later = protocol.parts[TEST]",
        "tests/pipeline/dataset/test_similar.py",
    ),
    Mutation(
        "content yardstick: lengths of features count",
        "model/baselines/cosines.py",
        "self.scale_I[item], (len(user_B)",
        "torch.ones(len(item)), (len(user_B)",
        "tests/model/baselines/test_scorers.py",
    ),
    Mutation(
        "masking: seen items compete with cold ones",
        "model/evaluation.py",
        "score_BI.masked_fill_(~candidate_I, -torch.inf)",
        "pass",
        "tests/model/test_evaluation.py",
    ),
    Mutation(
        "baselines: item-kNN is not shrunk",
        "model/baselines/neighbours.py",
        "norm_I + shrinkage)",
        "norm_I)",
        "tests/model/baselines/test_scorers.py",
    ),
    Mutation(
        "FREEDOM: pairs of low degree are dropped first",
        "model/baselines/freedom.py",
        "degree_I[data.item_T]).sqrt()",
        "degree_I[data.item_T]).rsqrt()",
        "tests/model/baselines/test_freedom.py",
    ),
    Mutation(
        "FREEDOM: dropped pairs are missing in evaluation, too",
        "model/baselines/freedom.py",
        "backbone = self._kept if self.training else self._whole",
        "backbone = self._kept",
        "tests/model/baselines/test_freedom.py",
    ),
    Mutation(
        "FREEDOM: the item graph keeps its cosines",
        "model/baselines/freedom.py",
        "(graph.similarity_IK > 0).float().reshape(-1)",
        "graph.similarity_IK.reshape(-1)",
        "tests/model/baselines/test_freedom.py",
    ),
    Mutation(
        "MGCN: a view is contrasted with itself",
        "model/baselines/mgcn.py",
        "gather_rows(views.behaviour_ND, node_P)",
        "gather_rows(views.side_ND, node_P)",
        "tests/model/baselines/test_mgcn.py",
    ),
    Mutation(
        "compare: the search looks upwards only",
        "pipeline/experiments/compare/search.py",
        "for toward in (factor, 1 / factor):",
        "for toward in (factor,):",
        "tests/pipeline/experiments/compare/test_search.py",
    ),
    Mutation(
        "compare: what does not fit is measured",
        "pipeline/experiments/compare/forecast.py",
        "cost.memory_bytes <= left",
        "cost.memory_bytes >= 0",
        "tests/pipeline/experiments/compare/test_forecast.py::test_too_large_says_what_is_needed_and_what_is_free_and_nothing_where_nobody_knows",
    ),
    Mutation(
        "cold items: the same ones are held out whatever the seed",
        "pipeline/dataset/split.py",
        "np.argsort(draws(config.seed, items)",
        "np.argsort(draws(0, items)",
        "tests/pipeline/dataset/test_split.py",
    ),
    Mutation(
        "the authors' protocol: validation items are masked",
        "pipeline/dataset/protocol.py",
        "paper_metrics(self._rank(scorer, relevant, [TRAIN]), relevant, CUTOFFS)",
        "paper_metrics(self._rank(scorer, relevant, [TRAIN, VALIDATION]), relevant, CUTOFFS)",
        "tests/pipeline/dataset/test_protocol.py",
    ),
    Mutation(
        "attention mask: absent modalities take their share",
        "model/fusion.py",
        "logit_IM = logit_IM.masked_fill(~present_IM, torch.finfo(logit_IM.dtype).min)",
        "pass",
        "tests/model/test_fusion.py",
    ),
    Mutation(
        "attention mask: items without content have weights",
        "model/fusion.py",
        "return torch.softmax(logit_IM, dim=1) * present_IM",
        "return torch.softmax(logit_IM, dim=1)",
        "tests/model/test_fusion.py",
    ),
    Mutation(
        "logQ: candidates of the contrast are not weighted",
        "model/contrastive.py",
        "key_KD.T, beta=-1)",
        "key_KD.T, beta=0)",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "logQ: the sample of the contrast counts as all items",
        "model/objective.py",
        "math.log((num_samples - 1) / len(item_P))",
        "0.0",
        "tests/model/test_objective.py",
    ),
    Mutation(
        "logQ: candidates of the softmax are not weighted",
        "model/ranking/softmax.py",
        "Candidates(item_C, drawn_I, math.log(len(trained_item) / count))",
        "Candidates(item_C, drawn_I, 1e-9)",
        "tests/model/ranking",
    ),
    Mutation(
        "self-pair: the anchor stands among its negatives",
        "model/contrastive.py",
        "logit_AK.masked_fill_(anchor_A[part, None] == item_K, -torch.inf)",
        "pass",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "self-pair: the softmax counts a drawn positive twice",
        "model/ranking/softmax.py",
        " * candidates.drawn_I[item_P]",
        " * 0",
        "tests/model/ranking",
    ),
    Mutation(
        "seen-item rejection: seen items are drawn as negatives",
        "model/sampling.py",
        "self.trained_item[draw_P + below_P]",
        "self.trained_item[draw_P]",
        "tests/model/test_sampling.py",
    ),
    Mutation(
        "seen-item rejection: a place too far",
        "model/sampling.py",
        "torch.searchsorted(self._key_T, key_P, right=True)",
        "torch.searchsorted(self._key_T, key_P, right=False)",
        "tests/model/test_sampling.py",
    ),
    Mutation(
        "gradient: the contrast's keys have none",
        "model/contrastive.py",
        "grad * positive_grad_A, grad * key_grad_KD,",
        "grad * positive_grad_A, 0 * key_grad_KD,",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "gradient: the contrast's queries have none",
        "model/contrastive.py",
        "return grad * query_grad_AD,",
        "return 0 * query_grad_AD,",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "gradient: the contrast's positives count three times",
        "model/contrastive.py",
        "grad * positive_grad_A, grad",
        "3 * grad * positive_grad_A, grad",
        "tests/model/test_contrastive.py",
    ),
    Mutation(
        "contrast: the exact one is sampled",
        "model/objective.py",
        'config.contrastive == "exact" or ',
        "",
        "tests/model/test_objective.py",
    ),
    Mutation(
        "learned graph: edges count twice on steps with a gradient",
        "model/structure.py",
        "self.columns.shared(self._edge_weight())",
        "self.columns.shared(2 * self._edge_weight())",
        "tests/model/test_structure.py",
    ),
    Mutation(
        "learned graph: no gradient through the degrees",
        "model/normalisation.py",
        "safe = torch.where(connected, degree, 1.0)",
        "safe = torch.where(connected, degree, 1.0).detach()",
        "tests/model/test_structure.py",
    ),
    Mutation(
        "item graphs: one convolution whatever the number of layers",
        "model/micro.py",
        "for _ in range(self.config.item_graph_layers)",
        "for _ in range(1)",
        "tests/model/test_micro.py",
    ),
    Mutation(
        "item graphs: LATTICE's are not mixed between layers",
        "model/micro.py",
        'mixed = self.config.fusion == "graph"',
        "mixed = False",
        "tests/model/test_micro.py",
    ),
    Mutation(
        "structure gradient: in the first step of all alone",
        "model/training.py",
        "structure_gradient=every_step or steps == 0",
        "structure_gradient=every_step or (steps == 0 and self.epoch == 0)",
        "tests/model/test_training.py::"
        "test_trainer_structure_gradient_reaches_the_projection_on_the_steps_of_its_setting",
    ),
    Mutation(
        "structure gradient: every step is as the first of its epoch",
        "model/training.py",
        "structure_gradient=every_step or steps == 0",
        "structure_gradient=True",
        "tests/model/test_training.py::"
        "test_trainer_structure_gradient_reaches_the_projection_on_the_steps_of_its_setting",
    ),
    Mutation(
        "learning rate: it never decays",
        "model/training.py",
        'group["lr"] = rate',
        "pass",
        "tests/model/test_training.py::test_trainer_learning_rate_decays_smoothly_and_is_what_the_optimiser_steps_by",
    ),
    Mutation(
        "warm start: the graphs stay those of random parameters",
        "model/training.py",
        "self.model.refresh_graphs(anew=True)",
        "pass",
        "tests/model/test_training.py::test_trainer_start_from_has_the_graphs_of_the_parameters",
    ),
    Mutation(
        "dropout: messages that are kept are not scaled",
        "model/backbones/ngcf.py",
        " / (1 - MESSAGE_DROPOUT)",
        "",
        "tests/model/backbones/test_backbones.py::test_ngcf_dropout_zeroes_a_tenth_and_keeps_the_mean",
    ),
    Mutation(
        "dropout: half of the messages",
        "model/backbones/ngcf.py",
        "MESSAGE_DROPOUT = 0.1",
        "MESSAGE_DROPOUT = 0.5",
        "tests/model/backbones/test_backbones.py::test_ngcf_dropout_zeroes_a_tenth_and_keeps_the_mean",
    ),
    Mutation(
        "gate: the interval need only touch the limit",
        "pipeline/registry/judging/judge.py",
        "estimate.interval[1] < -gate.max_regression",
        "estimate.interval[0] < -gate.max_regression",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_equal_model_passes_every_row",
    ),
    Mutation(
        "gate: pairs that the other was trained on count",
        "pipeline/registry/judging/ground.py",
        '_part(table, HELD_OUT).join(other, on=PAIR, how="anti")',
        "_part(table, HELD_OUT)",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_pairs_that_either_was_trained_on_are_left_out",
    ),
    Mutation(
        "gate: what was held out then is not looked at",
        "pipeline/registry/judging/ground.py",
        "then=held_out(tables[1], trained[0])",
        "then=None",
        "tests/pipeline/registry/judging/test_judge.py::test_judge_shuffled_interactions_are_refused_by_what_was_held_out_then",
    ),
    Mutation(
        "checks: a fall is measured against today",
        "pipeline/registry/check_rows.py",
        "lowest = math.ceil(round(before * (1 - fall), 6))",
        "lowest = math.ceil(round(count * (1 - fall), 6))",
        "tests/pipeline/stages/test_input_checks.py",
    ),
    Mutation(
        "pin: nothing is compared after reading",
        "pipeline/catalogue/pin.py",
        "        raise\n    confirm(catalogue, pin)",
        "        raise",
        "tests/pipeline/catalogue/test_pin.py",
    ),
    Mutation(
        "comparison: LATTICE is MICRO by another name",
        "pipeline/experiments/compare/trained.py",
        '_with_bpr("lattice", {"model.fusion": "graph", ',
        '_with_bpr("lattice", {',
        "tests/pipeline/experiments/compare/test_contestants.py::test_contestants_trained_ones_change_exactly_what_is_meant",
    ),
    Mutation(
        "comparison: an ablation changes the other way",
        "pipeline/experiments/compare/contestants.py",
        '"initial-graph": {"model.initial_graph_weight": 1.0}',
        '"initial-graph": {"model.initial_graph_weight": 0.0}',
        "tests/pipeline/experiments/compare/test_contestants.py::test_contestants_trained_ones_change_exactly_what_is_meant",
    ),
    Mutation(
        "a moved store: a copy writes into the original",
        "pipeline/registry/relocation.py",
        "or _is_copy(location.folder, database, artifacts)",
        "or False",
        "tests/pipeline/registry/test_relocation.py::test_relocate_database_beside_a_store_moves_with_it",
    ),
    Mutation(
        "a moved store: a database that two stores share is rewritten",
        "pipeline/registry/relocation.py",
        "location.folder if own else location.folder.parent",
        "location.folder",
        "tests/pipeline/registry/test_relocation.py::test_relocate_database_that_two_stores_share_is_left_alone",
    ),
    Mutation(
        "MLflow lost: a number of a version is believed",
        "pipeline/registry/versions.py",
        "return found is not None and (found.run_id, found.digest) == (run_id, digest)",
        "return found is not None",
        "tests/pipeline/registry/test_versions.py",
    ),
    Mutation(
        "verify: any answer of the model will do",
        "pipeline/registry/answer.py",
        "np.allclose([said, given], best, rtol=TOLERANCE, atol=TOLERANCE)",
        "True",
        "tests/pipeline/registry/test_answer.py",
    ),
    Mutation(
        "taste: content is not centred",
        "model/finishing/taste.py",
        "centred_QF = feature_QF - mean_F",
        "centred_QF = feature_QF + 0 * mean_F",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "taste: whitening stretches what is strong",
        "model/finishing/taste.py",
        "** -power",
        "** power",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "taste: it grows with the history",
        "model/finishing/taste.py",
        "F.normalize(history @ content_IK, dim=1)",
        "history @ content_IK",
        "tests/model/finishing/test_taste.py",
    ),
    Mutation(
        "joining: all modalities weigh alike",
        "model/finishing/joining.py",
        "self.scale * weights[name]",
        "self.scale",
        "tests/model/finishing/test_joining.py",
    ),
    Mutation(
        "distilling: the cut learns nothing",
        "model/finishing/distilling.py",
        "settings.rate * float",
        "0 * float",
        "tests/model/finishing/test_distilling.py",
    ),
    Mutation(
        "finishing: new items are raised beyond what their content deserves",
        "model/finishing/finish.py",
        "outcome.new_share <= deserved and",
        "True and",
        "tests/model/finishing/test_finish.py",
    ),
    Mutation(
        "finishing: new items are raised whatever it costs the others",
        "model/finishing/finish.py",
        "fall <= MOST_FALL",
        "fall <= 1",
        "tests/model/finishing/test_finish.py",
    ),
    Mutation(
        "embed: new items are not raised with the catalogue's",
        "model/inductive.py",
        "finished.new_item_scale * cut.item_JD",
        "cut.item_JD",
        "tests/model/test_inductive.py",
    ),
    Mutation(
        "adaptation: a change that fails is kept",
        "model/training.py",
        "self.model.load_state_dict(self._best)\n        self.model.restore_graphs()\n        self.optimizer.state",
        "self.model.restore_graphs()\n        self.optimizer.state",
        "tests/model/test_adaptation.py::test_trainer_going_back_begins_each_change_at_the_best_state",
    ),
    Mutation(
        "adaptation: luck is a gain",
        "model/adaptation.py",
        "if self.weights == self.best:\n            return best_metric",
        "if True:\n            return best_metric",
        "tests/model/test_adaptation.py::test_adaptation_first_gain_must_exceed_luck",
    ),
    Mutation(
        "adaptation: best vectors with the weights of the last change",
        "model/training.py",
        "self.model.content_weight = self.adaptation.best.content_weight",
        "pass",
        "tests/model/test_adaptation.py::test_trainer_best_vectors_are_those_of_the_best_weights",
    ),
    Mutation(
        "adaptation: found weights are searched again",
        "model/adaptation.py",
        "if name not in given and name not in found)",
        "if name not in given)",
        "tests/model/test_adaptation.py::test_adaptation_of_changes_nothing_that_is_given_found_or_cannot_be_measured",
    ),
    Mutation(
        "found weights: of another model",
        "pipeline/stages/found_weights.py",
        '"model": {**config["model"], "modalities": modalities},\n        ',
        "",
        "tests/pipeline/stages/test_found_weights.py",
    ),
    Mutation(
        "input: what is not committed counts under a glob",
        "pipeline/catalogue/locations.py",
        "if any(part.startswith(HIDDEN) and part not in spelled for part in _parts(name)[start:]):",
        "if False:",
        "tests/pipeline/catalogue/test_locations.py::test_glob_leaves_folders_out_that_are_not_committed",
    ),
    Mutation(
        "input: folders above the location give columns",
        "pipeline/catalogue/locations.py",
        "for folder in parts[len(above) : -1]",
        "for folder in parts[:-1]",
        "tests/pipeline/catalogue/test_locations.py::test_partition_values_are_of_the_folders_below_the_location",
    ),
    Mutation(
        "input: folders that a glob matches are dropped",
        "pipeline/catalogue/locations.py",
        "            yield from _in_folder(file)\n",
        "            continue\n",
        "tests/pipeline/catalogue/test_locations.py::test_glob_descends_into_the_folders_that_it_matches",
    ),
    Mutation(
        "pictures: a progressive JPEG counts as small as it is drafted",
        "features/pictures.py",
        "whole if in_scans else",
        "whole if False else",
        "tests/features/test_pictures.py::test_pixels_of_a_progressive_jpeg_count_whole_though_it_is_drafted",
    ),
    Mutation(
        "serving: items without content are near something",
        "pipeline/serving/why.py",
        "present_I[rows] & unit_RF.any(axis=1)",
        "present_I[rows] | True",
        "tests/pipeline/serving/test_why.py::test_nearest_what_has_no_content_is_near_nothing",
    ),
    Mutation(
        "serving: a damaged cache is served",
        "pipeline/serving/champion.py",
        "whole = bool(recorded == _digests(folder))",
        "whole = bool(recorded)",
        "tests/pipeline/serving/test_champion.py::test_load_champion_cache_that_is_not_what_was_written_is_made_anew",
    ),
    Mutation(
        "input: a table with a log is a list of files",
        "pipeline/catalogue/table_logs.py",
        "kind = _table_kind(folder) if is_local(folder)",
        "kind = None if is_local(folder)",
        "tests/pipeline/catalogue/test_locations.py::test_table_with_a_log_is_refused",
    ),
    Mutation(
        "input: quotes are taken as they come",
        "pipeline/catalogue/csv_files.py",
        "        if quoted:\n",
        "        if quoted is None:\n",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_quote_where_none_can_be_is_refused_and_no_rows_are_merged",
    ),
    Mutation(
        "input: day and month are guessed",
        "pipeline/catalogue/moments.py",
        "if other is not None:",
        "if other == first:",
        "tests/pipeline/catalogue/test_moments.py::test_texts_without_the_year_first_are_refused",
    ),
    Mutation(
        "input: seconds and milliseconds are one unit",
        "pipeline/catalogue/moments.py",
        "if len(units) < 2:",
        "if len(units) < 3:",
        "tests/pipeline/catalogue/test_moments.py::test_numbers_of_two_units_are_refused",
    ),
    Mutation(
        "input: a vector of zeros is content",
        "features/precomputed.py",
        "present & ~zero, num_vectors",
        "present, num_vectors",
        "tests/pipeline/catalogue/test_oddities.py::test_zero_vectors_are_missing_and_counted",
    ),
    Mutation(
        "input: nested lists lose a level's leaves",
        "pipeline/catalogue/column_types.py",
        "    for _ in range(depth):\n        column",
        "    for _ in range(depth - 1):\n        column",
        "tests/pipeline/catalogue/test_column_types.py::test_content_of_a_plain_type_is_read_as_text",
    ),
    Mutation(
        "input: a header is one line",
        "pipeline/catalogue/csv_files.py",
        "skip_rows=header.lines",
        "skip_rows=1",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_header_with_a_line_break_is_read",
    ),
    Mutation(
        "input: values are as long as csv likes",
        "pipeline/catalogue/csv_files.py",
        "csv.field_size_limit(_BLOCK_BYTES)",
        "csv.field_size_limit()",
        "tests/pipeline/catalogue/test_text_files.py::test_csv_values_are_as_long_as_a_block",
    ),
    Mutation(
        "input: the text of a number is its batch's",
        "pipeline/catalogue/json_files.py",
        "whole = whole and not _respelled(before, known)",
        "whole = True",
        "tests/pipeline/catalogue/test_text_files.py::test_json_column_has_one_type_whatever_the_batches",
    ),
    Mutation(
        "input: dates without separators are seconds",
        "pipeline/catalogue/oddities.py",
        'if dates and dates["count"]:',
        "if dates and dates is None:",
        "tests/pipeline/catalogue/test_moments.py::test_dates_without_separators_are_refused",
    ),
    Mutation(
        "lists: titles are markup",
        "pipeline/cli/show.py",
        'Text(row.title or "")',
        'row.title or ""',
        "tests/pipeline/cli/test_show_list.py::test_show_list_shows_ids_and_titles_as_they_stand",
    ),
    Mutation(
        "pictures: links lead out of the root",
        "pipeline/catalogue/pictures.py",
        "return _real(path).is_relative_to(_real(self.root))",
        "return local_path(path).is_relative_to(local_path(self.root))",
        "tests/pipeline/catalogue/test_pictures.py::test_what_lies_outside_is_not_read_unless_it_may_be",
    ),
    Mutation(
        "pictures: all are decoded at once",
        "features/pixels.py",
        "self._held == 0 or self._held + pixels <= self.limit",
        "self._held >= 0",
        "tests/pipeline/catalogue/test_pictures.py::test_pixels_in_flight_stay_within_the_bound",
    ),
    Mutation(
        "long texts: features of cut and averaged texts are mixed",
        "features/text_encoders.py",
        'return name if config.long_texts == "cut" else',
        "return name if config.long_texts else",
        "tests/features/test_text_limits.py::test_features_of_cut_and_of_averaged_texts_have_keys_of_their_own",
    ),
    Mutation(
        "release: what users have in held-out parts is not in seen",
        "pipeline/stages/export.py",
        "pairs = dataset.interactions.sort(USER_INDEX, ITEM_INDEX)\n    columns",
        "pairs = dataset.interactions.filter(split=TRAIN).sort(USER_INDEX, ITEM_INDEX)\n    columns",
        "tests/pipeline/stages/test_export.py::test_seen_table_holds_every_kept_interaction_sorted_held_out_ones_too",
    ),
    Mutation(
        "ranker: a group whose best is near the bound is passed over",
        "pipeline/serving/ranker.py",
        "groups - k, axis=1)[:, groups - k]",
        "groups - k, axis=1)[:, groups - k + (k > 1)]",
        "tests/pipeline/serving/test_ranker.py::test_rank_all_best_items_in_groups_of_their_own_are_found_masked_or_not",
    ),
    Mutation(
        "ranker: masked items raise the bound",
        "pipeline/serving/ranker.py",
        "block[item_M[low:high] - start, user_M[low:high]] = -np.inf",
        "pass",
        "tests/pipeline/serving/test_ranker.py::test_rank_all_best_items_in_groups_of_their_own_are_found_masked_or_not",
    ),
    Mutation(
        "ranker: a history is not left out",
        "pipeline/serving/ranker.py",
        "own = (self._seen(question.user), question.history) if",
        "own = (self._seen(question.user),) if",
        "tests/pipeline/serving/test_ranker.py::test_recommend_history_is_folded_in_and_left_out",
    ),
    Mutation(
        "ranker: a history that the release knows moves the user",
        "pipeline/serving/ranker.py",
        "self._fold_in(np.union1d(seen, one.history)) - self._fold_in(seen)",
        "self._fold_in(np.union1d(seen, one.history))",
        "tests/pipeline/serving/test_ranker.py::test_recommend_history_that_the_release_knows_leaves_the_user_as_trained",
    ),
    Mutation(
        "ranker: what MLflow drops is ignored",
        "pipeline/serving/ranker.py",
        'names_in(data), COLUMNS)\n        require_known("parameter"',
        'names_in(model_input), COLUMNS)\n        require_known("parameter"',
        "tests/pipeline/serving/test_loaded.py::test_model_what_is_not_known_is_refused_though_mlflow_would_drop_it",
    ),
    Mutation(
        "champion: a damaged release is served",
        "pipeline/serving/champion.py",
        "digest = check_release(here).digest",
        "digest = champion.digest",
        "tests/pipeline/serving/test_champion.py::test_load_champion_damaged_release_is_refused_and_nothing_is_kept",
    ),
]


FORKING = """
import json, os, sys
import numpy, pytest, scipy.stats, torch  # once, for all that is forked from here; nothing is computed before
for request in sys.stdin:
    arguments, log = json.loads(request)
    child = os.fork()
    if not child:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        status = pytest.main(arguments)
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Copy:
    """The code and its tests in a folder of their own, and a process that runs some of them, in a fork each."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("model", "pipeline", "features", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        command = [sys.executable, "-B", "-c", FORKING]  # no bytecode: a break may leave a file's size and second
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, tests):
        """pytest's exit status, and what it said."""
        log = self.folder / "log"
        arguments = ["-q", "-x", "-p", "no:cacheprovider", *tests.split()]
        self.process.stdin.write(json.dumps([arguments, str(log)]) + "\n")
        return int(self.process.stdout.readline()), log.read_text()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("mutations"))
    status, said = copy.run(" ".join(sorted({mutation.tests for mutation in MUTATIONS})))
    assert status == 0, said
    with copy.process:
        yield copy


@pytest.mark.integration
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_each_is_noticed(copied, mutation):
    file = copied.folder / mutation.file
    source = file.read_text()
    assert source.count(mutation.old) == 1, f"{mutation.file} has changed: adapt the mutation"
    file.write_text(source.replace(mutation.old, mutation.new))
    status, said = copied.run(mutation.tests)
    file.write_text(source)
    assert status == 1, said  # a test failed: 2 would be an interruption, 4 a wrong name
